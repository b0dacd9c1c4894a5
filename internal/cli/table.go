package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

const (
	// standardColumns is the width of a terminal whose width is unknown.
	standardColumns = 80
	// narrow is the least width at which times are shown in full.
	narrow = 100
	// leastCell is the least width to which a cell is cut.
	leastCell = 6
)

// columns returns the width of the output, or 0 if it is not a terminal.
func (a *app) columns() int {
	descriptor, ok := terminal(a.Out)
	if !ok {
		return 0
	}
	if wide, _, err := term.GetSize(descriptor); err == nil && wide > 0 {
		return wide
	}
	if wide, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && wide > 0 {
		return wide
	}
	return standardColumns
}

// table prints rows in aligned columns; the first row is the headings. If the terminal is
// too narrow, it first omits the columns under the spare headings, in order, and then cuts
// the widest cells, but never those under whole.
func (a *app) table(rows [][]string, whole string, spare ...string) {
	for r := range rows {
		rows[r] = slices.Clone(rows[r])
		for i, text := range rows[r] {
			rows[r][i] = printable(text)
		}
	}
	if limit := a.columns(); limit > 0 {
		for _, heading := range spare {
			if at := slices.Index(rows[0], heading); at >= 0 && total(widths(rows)) > limit {
				for r := range rows {
					rows[r] = slices.Delete(rows[r], at, at+1)
				}
			}
		}
		cutCells(rows, whole, limit)
	}
	wide := widths(rows)
	var b strings.Builder
	for n, row := range rows {
		for i, text := range row {
			gap := wide[i] - displayed(text)
			if n > 0 {
				text = a.color(text)
			}
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", gap+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	_, _ = io.WriteString(a.Out, b.String()) // Run reports an output that fails
}

const columnGap = 2

func widths(rows [][]string) []int {
	wide := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			wide[i] = max(wide[i], displayed(text))
		}
	}
	return wide
}

func total(widths []int) int {
	sum := columnGap * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

// cutCells cuts the widest columns until the rows fit.
func cutCells(rows [][]string, whole string, limit int) {
	wide := widths(rows)
	for excess := total(wide) - limit; excess > 0; excess-- {
		widest := -1
		for i := range wide {
			if rows[0][i] != whole && wide[i] > leastCell && (widest < 0 || wide[i] > wide[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break // nothing is left to cut
		}
		wide[widest]--
	}
	for _, row := range rows {
		for i := range row {
			if rows[0][i] != whole {
				row[i] = cut(row[i], wide[i])
			}
		}
	}
}

// pairs prints names and values, one pair to a line.
func (a *app) pairs(pairs ...[2]string) {
	wide := 0
	for _, pair := range pairs {
		wide = max(wide, displayed(pair[0]))
	}
	for _, pair := range pairs {
		_, _ = fmt.Fprintf(a.Out, "%-*s  %s\n", wide, pair[0], a.color(printable(pair[1]))) // as in table
	}
}

// displayed returns how many columns of a terminal a text takes.
func displayed(text string) int {
	n := 0
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

func columnsOf(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0 // drawn over the previous letter
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// cut shortens a text to limit columns; a shortened text ends in "…". 0 is no limit.
func cut(text string, limit int) string {
	if limit == 0 || displayed(text) <= limit {
		return text
	}
	var b strings.Builder
	n := 1 // for the mark
	for _, r := range text {
		if n += columnsOf(r); n > limit {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}
