package strictyaml

import "strings"

// Closest returns the name that a typing mistake most likely meant, or "" when
// none is near: at most one edit in three letters, and never more than three.
// An edit is a letter too many, too few or another one, or two that changed
// places (the optimal string alignment distance).
func Closest(typed string, names []string) string {
	best, bestDistance := "", min(3, max(1, len(typed)/3))+1
	for _, name := range names {
		if d := distance(strings.ToLower(typed), name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 { // no key is that long; keeps hostile input cheap
		return len(a) + len(b)
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
