package stats

import (
	"strings"
	"unicode/utf8"
)

// Table is a table with a head. Its first columns are text, all others are
// numbers and stand to the right. It must not be used from several goroutines
// at once.
type Table struct {
	text int // columns of text
	head []string
	rows [][]string
}

// NewTable makes a table without rows, whose first text columns are text.
func NewTable(text int, head ...string) *Table { return &Table{text: text, head: head} }

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
	t.writeRow(&b, t.head, widths)
	for i, w := range widths {
		if i < t.text {
			b.WriteString("|" + strings.Repeat("-", w+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range t.rows {
		t.writeRow(&b, row, widths)
	}
	return b.String()
}

func (t *Table) writeRow(b *strings.Builder, row []string, widths []int) {
	for i, cell := range row {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i < t.text {
			b.WriteString("| " + cell + pad + " ")
		} else {
			b.WriteString("| " + pad + cell + " ")
		}
	}
	b.WriteString("|\n")
}
