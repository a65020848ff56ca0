//go:build !linux

package watch

import (
	"context"
	"log/slog"
)

// Watcher does not exist on this system.
type Watcher struct{}

// Watch is one registration.
type Watch struct{}

// New fails: files are polled here.
func New(*slog.Logger) (*Watcher, error) { return nil, ErrUnsupported }

// Dir fails.
func (*Watcher) Dir(string, func(Event)) (*Watch, error) { return nil, ErrUnsupported }

// File fails.
func (*Watcher) File(string, func()) (*Watch, error) { return nil, ErrUnsupported }

// Keep fails.
func (*Watcher) Keep(string, func(bool)) (*Watch, error) { return nil, ErrUnsupported }

// Close does nothing.
func (*Watch) Close() {}

// Run waits for ctx to end.
func (*Watcher) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
