package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Directory is a Store of files. Its conditions hold among the goroutines that
// share it.
type Directory struct {
	dir string
	mu  sync.Mutex // between looking at a condition and writing
}

// NewDirectory makes a Store of the files below dir, which need not exist.
func NewDirectory(dir string) *Directory { return &Directory{dir: dir} }

// Place implements Store.
func (d *Directory) Place(name string) string {
	return filepath.Join(d.dir, filepath.FromSlash(path.Clean("/"+name)))
}

// Put implements Store. What is written lies under another name until it is
// whole.
func (d *Directory) Put(ctx context.Context, name string, content io.ReadSeeker, c Condition) (Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	v, err := d.put(ctx, name, content, c)
	if err != nil {
		return "", d.failed(ctx, "written", name, err)
	}
	return v, nil
}

func (d *Directory) put(ctx context.Context, name string, content io.ReadSeeker, c Condition) (Version, error) {
	to := d.Place(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(to), newPattern+"*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is renamed when all went well
	defer f.Close()           //nolint:errcheck // the same
	sum := sha256.New()
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.MultiWriter(f, sum), content); err != nil {
		return "", err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(ctx, name, c); err != nil {
		return "", err
	}
	return version(sum.Sum(nil)), os.Rename(f.Name(), to)
}

// newPattern begins the names of files that are being written.
const newPattern = ".new-"

func (d *Directory) check(ctx context.Context, name string, c Condition) error {
	if err := ctx.Err(); err != nil || c == (Condition{}) {
		return err
	}
	_, is, err := d.Get(ctx, name)
	none := errors.Is(err, ErrNone)
	switch {
	case err != nil && !none:
		return err
	case c.Absent && !none, c.Is != "" && c.Is != is:
		return ErrCondition
	}
	return nil
}

func version(sum []byte) Version { return Version(hex.EncodeToString(sum[:16])) }

// Get implements Store.
func (d *Directory) Get(ctx context.Context, name string) ([]byte, Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	b, err := os.ReadFile(d.Place(name))
	if isNone(err) {
		return nil, "", ErrNone
	}
	if err != nil {
		return nil, "", d.failed(ctx, "read", name, err)
	}
	sum := sha256.Sum256(b)
	return b, version(sum[:]), nil
}

// List implements Store.
func (d *Directory) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	root := d.Place(prefix[:strings.LastIndexByte(prefix, '/')+1])
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isNone(err): // deleted meanwhile, too
			return nil
		case err != nil || e.IsDir():
			return err
		}
		rel, err := filepath.Rel(d.dir, p)
		if name := filepath.ToSlash(rel); strings.HasPrefix(name, prefix) && !strings.HasPrefix(e.Name(), newPattern) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, d.failed(ctx, "listed", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements Store.
func (d *Directory) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(d.Place(name)); err != nil && !isNone(err) {
		return d.failed(ctx, "deleted", name, err)
	}
	return nil
}

// isNone reports whether there is no such file; nothing is below one, either.
func isNone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// failed says which file could not be written, or read, and what to do.
func (d *Directory) failed(ctx context.Context, what, name string, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrCondition) {
		return cmp.Or(ctx.Err(), err)
	}
	advice := "check its permissions, and that no file is where a directory has to be"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		advice = "make room, or give another place"
	}
	return fmt.Errorf("%s cannot be %s: %w; %s", d.Place(name), what, err, advice)
}
