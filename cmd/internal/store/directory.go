package store

import (
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

// Put implements Store.
func (d *Directory) Put(ctx context.Context, name string, content io.ReadSeeker, c Condition) (Version, error) {
	to := d.Place(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".new-*")
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
		return "", fmt.Errorf("%s: %w", to, err)
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
func (d *Directory) Get(_ context.Context, name string) ([]byte, Version, error) {
	b, err := os.ReadFile(d.Place(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", ErrNone
	}
	sum := sha256.Sum256(b)
	return b, version(sum[:]), err
}

// List implements Store.
func (d *Directory) List(_ context.Context, prefix string) ([]string, error) {
	var names []string
	root := d.Place(prefix[:strings.LastIndexByte(prefix, '/')+1])
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(d.dir, p)
		if name := filepath.ToSlash(rel); strings.HasPrefix(name, prefix) && !strings.HasPrefix(e.Name(), ".new-") {
			names = append(names, name)
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

// Delete implements Store.
func (d *Directory) Delete(_ context.Context, name string) error {
	if err := os.Remove(d.Place(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
