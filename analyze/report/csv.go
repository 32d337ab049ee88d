package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// Interruptible returns a writer that writes to w as long as ctx lives.
func Interruptible(ctx context.Context, w io.Writer) io.Writer { return interruptible{ctx, w} }

type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, i.ctx.Err()
	}
	return i.w.Write(p)
}

// ReplaceFile writes a file whole or not at all: a temporary one beside it,
// which is then renamed. Where the name is a symbolic link, what it leads to
// is replaced. A pipe or a device, such as /dev/stdout or a shell's >(...),
// is written to as it is. An error names the file.
func ReplaceFile(name string, write func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}()
	target := name
	if info, err := os.Stat(name); err == nil {
		if !info.Mode().IsRegular() && !info.IsDir() {
			return writeTo(name, write)
		}
		if target, err = filepath.EvalSymlinks(name); err != nil {
			return err
		}
	}
	// With the process in its name, two that write the same report do not
	// write into each other's file.
	temporary := filepath.Join(filepath.Dir(target), fmt.Sprintf(".%s.%d.tmp", filepath.Base(target), os.Getpid()))
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, target); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

// writeTo writes to a pipe or a device.
func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
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
