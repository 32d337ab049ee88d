package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// Files is the list of the objects in files, directories and standard input.
type Files struct {
	objects []Object
	bytes   int64
	opts    Options
}

// Find finds the objects at places and opens none of them. A place is a
// file, a directory, or "-" for opts.Stdin. A directory is walked to its
// end, following symbolic links to files but not to directories; every
// regular file in it is an object, whatever its name, unless opts.From and
// opts.To exclude the time that an AWS name tells. An object found twice is
// read once.
//
// A place that does not exist, and a directory without any file, is an
// error.
func Find(places []string, opts Options) (*Files, error) {
	if len(places) == 0 {
		return nil, errors.New(`no place to read; give files, directories, or "-" for standard input`)
	}
	l := &Files{opts: opts}
	seen := make(map[string]bool)
	for _, place := range places {
		found, err := l.find(place)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			if name := filepath.Clean(o.Place); !seen[name] {
				seen[name] = true
				l.objects = append(l.objects, o)
				l.bytes += o.Size
			}
		}
	}
	return l, nil
}

// All implements Objects. A file with a name of another form than AWS's is
// looked into, and taken to start at most ten minutes, the longest
// aggregation interval, before its first record.
func (l *Files) All(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		objects := slices.Clone(l.objects)
		InOrder(ctx, objects, &l.opts, cmp.Or(l.opts.Jobs, runtime.GOMAXPROCS(0)))
		for _, o := range objects {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Ordered implements Objects: it reports whether every object has the time
// of its records in its name, and none covers hours of the others'.
func (l *Files) Ordered() bool {
	names := make([]ObjectName, 0, len(l.objects))
	for _, o := range l.objects {
		name, named := ParseName(o.Place)
		if !named {
			return false
		}
		names = append(names, name)
	}
	return Successive(names)
}

// HasLong reports whether an object covers more time than one of AWS's.
func (l *Files) HasLong() bool {
	return slices.ContainsFunc(l.objects, func(o Object) bool {
		name, _ := ParseName(o.Place)
		return name.IsLong()
	})
}

// Listed implements Objects.
func (l *Files) Listed() Listing { return Listing{Objects: len(l.objects), Bytes: l.bytes, Share: 1} }

// find lists the objects at one place.
func (l *Files) find(place string) ([]Object, error) {
	if place == "-" {
		return l.stdin()
	}
	info, err := os.Stat(place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file or directory; check the path", place)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", place, errors.Unwrap(err))
	case info.IsDir():
		return l.walk(place)
	}
	return []Object{file(place, info)}, nil
}

func (l *Files) stdin() ([]Object, error) {
	if l.opts.Stdin == nil {
		return nil, errors.New("-: there is no standard input to read")
	}
	// The pump closes what it can; standard input is not ours to close.
	stdin := struct{ io.Reader }{l.opts.Stdin}
	return []Object{{Place: "-", Start: UnknownStart, Once: true, Open: func(ctx context.Context) (io.ReadCloser, error) {
		return newCancelReader(ctx, func() (io.Reader, error) { return stdin, nil }), nil
	}}}, nil
}

// file is an object that is a file. What is no regular file, such as a named
// pipe, can block, and can be read only once.
func file(place string, info fs.FileInfo) Object {
	o := Object{Place: place, Start: UnknownStart, Open: func(context.Context) (io.ReadCloser, error) { return openFile(place) }}
	if info != nil && !info.Mode().IsRegular() {
		o.Once = true
		o.Open = func(ctx context.Context) (io.ReadCloser, error) {
			return newCancelReader(ctx, func() (io.Reader, error) {
				f, err := openFile(place)
				return f, err
			}), nil
		}
	} else if info != nil {
		o.Size = info.Size()
	}
	return o
}

// openedFile is a file with random access.
type openedFile struct {
	*os.File
	size int64
}

// Size implements RandomAccess.
func (f *openedFile) Size() int64 { return f.size }

func openFile(place string) (io.ReadCloser, error) {
	f, err := os.Open(place)
	if err != nil {
		return nil, errors.Unwrap(err) // the place is added on the way up
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // of what was not read
		return nil, errors.Unwrap(err)
	}
	return &openedFile{f, info.Size()}, nil
}

func (l *Files) walk(dir string) ([]Object, error) {
	var found []Object
	files := 0
	visit := func(place string, d fs.DirEntry, err error) error {
		if err != nil || !isFile(place, d) {
			return err
		}
		files++
		if l.mayHold(place) {
			info, err := os.Stat(place)
			if err != nil {
				info = nil // reading it gives the error, with its place
			}
			found = append(found, file(place, info))
		}
		return nil
	}
	// With the separator, a symbolic link to a directory is walked too.
	err := filepath.WalkDir(dir+string(filepath.Separator), visit)
	if err == nil && files == 0 {
		err = fmt.Errorf("%s: the directory holds no file; give one that holds flow logs", dir)
	}
	return found, err
}

// isFile reports whether a directory's entry is a regular file or a link to
// one. A link to nothing counts, so that reading it gives an error with its
// name.
func isFile(place string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return d.Type().IsRegular()
	}
	info, err := os.Stat(place)
	return err != nil || info.Mode().IsRegular()
}

func (l *Files) mayHold(place string) bool {
	name, ok := ParseName(place)
	return !ok || name.MayHold(l.opts.From, l.opts.To)
}
