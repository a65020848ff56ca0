//go:build !linux

package idle

// Slack does nothing: only Linux has a timer slack for each thread.
func Slack() error { return nil }

// Unload does nothing here.
func Unload() error { return nil }
