package stats

import (
	"strings"
	"unicode/utf8"
)

// Table is a table with a head. The first column is text, all others are
// numbers and stand to the right. It must not be used from several goroutines
// at once.
type Table struct {
	head []string
	rows [][]string
}

// NewTable makes a table without rows.
func NewTable(head ...string) *Table { return &Table{head: head} }

// Add appends a row. Cells that are missing stay empty, those that are too
// many are dropped.
func (t *Table) Add(cells ...string) {
	row := make([]string, len(t.head))
	copy(row, cells)
	t.rows = append(t.rows, row)
}

// Markdown renders the table with padded columns, so that it reads well as
// plain text too.
func (t *Table) Markdown() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	writeRow(&b, t.head, widths)
	for i, w := range widths {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", w+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		writeRow(&b, row, widths)
	}
	return b.String()
}

func writeRow(b *strings.Builder, row []string, widths []int) {
	for i, cell := range row {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i == 0 {
			b.WriteString("| " + cell + pad + " ")
		} else {
			b.WriteString("| " + pad + cell + " ")
		}
	}
	b.WriteString("|\n")
}
