package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"ephemera/analyze"
)

// Files are the places of a report's files. What is empty is not written.
type Files struct {
	CSV  string // the folder for WriteCSV
	HTML string
	JSON string
}

// Everything returns the places of all files, in one folder.
func Everything(dir string) Files {
	return Files{CSV: dir, HTML: filepath.Join(dir, "report.html"), JSON: filepath.Join(dir, "report.json")}
}

// Write writes the files, side by side and each whole or not at all: see
// ReplaceFile. It creates the folder of CSV. It returns one of the errors that
// there are. When ctx is cancelled, the files that are not finished stay as
// they were.
func (f Files) Write(ctx context.Context, r *analyze.Result) error {
	if f.HTML != "" && f.HTML == f.JSON {
		return fmt.Errorf("%s: one file cannot be the HTML and the JSON", f.HTML)
	}
	g, ctx := errgroup.WithContext(ctx)
	if f.CSV != "" {
		if err := os.MkdirAll(f.CSV, 0o777); err != nil { // what else is written may lie there
			return err
		}
		g.Go(func() error { return WriteCSV(ctx, f.CSV, r) })
	}
	replace := func(name string, write func(io.Writer, *analyze.Result) error) {
		if name == "" {
			return
		}
		g.Go(func() error {
			return ReplaceFile(name, func(w io.Writer) error { return write(Interruptible(ctx, w), r) })
		})
	}
	replace(f.HTML, WriteHTML)
	replace(f.JSON, WriteJSON)
	return g.Wait()
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
