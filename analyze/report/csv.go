package report

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ephemera/analyze"
)

// WriteCSV writes sessions.csv, data_connections.csv, nat_mappings.csv,
// rejects.csv, port_ranges.csv and rules.csv into dir, which it creates. A file is
// replaced as a whole: a reader sees the old one or the new one. An error
// names the file.
//
// A cell that a spreadsheet would run as a formula gets a leading
// apostrophe. When ctx is cancelled, the file that it is at stays as it was.
func WriteCSV(ctx context.Context, dir string, r *analyze.Result) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, t := range tables(r) {
		write := func(w io.Writer) error { return cmp.Or(t.writeCSV(Interruptible(ctx, w)), r.Err()) }
		if err := ReplaceFile(filepath.Join(dir, t.file+".csv"), write); err != nil {
			return err
		}
	}
	return nil
}

// fullBuffer is how many bytes of rows are written at once.
const fullBuffer = 32 << 10

func (t table) writeCSV(w io.Writer) error {
	var b []byte
	for i, c := range t.columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCell(b, c.name)
	}
	b = append(b, '\n')
	for range t.rows {
		for i, c := range t.cells {
			if i > 0 {
				b = append(b, ',')
			}
			b = c.csv(b)
		}
		b = append(b, '\n')
		if len(b) >= fullBuffer {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	_, err := w.Write(b)
	return err
}

// neutralise puts an apostrophe before a cell that a spreadsheet would run
// as a formula. Source: OWASP, "CSV Injection". A plain negative number
// stays a number.
func neutralise(cell string) string {
	if len(cell) < 2 || !strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return cell
	}
	if _, err := strconv.ParseFloat(cell, 64); err == nil && cell[0] == '-' {
		return cell
	}
	return "'" + cell
}
