package main

import (
	"fmt"
	"os"
	"strings"
)

// report gathers what was measured, section by section.
type report struct {
	order  []string
	blocks map[string]string // Markdown by section
}

func (r *report) set(section, markdown string) {
	if r.blocks == nil {
		r.blocks = map[string]string{}
	}
	if _, known := r.blocks[section]; !known {
		r.order = append(r.order, section)
	}
	r.blocks[section] = strings.TrimSpace(markdown) + "\n"
}

// replace puts the sections that were measured into a document, each between
// its two marks; everything else stays as it is.
func (r *report) replace(document string) (string, error) {
	for _, section := range r.order {
		begin, end := fmt.Sprintf("<!-- bench:%s -->\n", section), fmt.Sprintf("<!-- /bench:%s -->\n", section)
		head, rest, ok1 := strings.Cut(document, begin)
		_, tail, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			return "", fmt.Errorf("the document has no place for %s: it needs the lines %q and %q", section, strings.TrimSpace(begin), strings.TrimSpace(end))
		}
		document = head + begin + r.blocks[section] + end + tail
	}
	return document, nil
}

// update is replace on a file.
func (r *report) update(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("update results: %w", err)
	}
	text, err := r.replace(string(b))
	if err != nil {
		return fmt.Errorf("update results in %s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
