package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"ephemera/ingest/flow"
)

// Local is a Source of the objects in files, directories and standard input.
type Local struct {
	objects []object
	opts    Options
	count   counters
}

// Open finds the objects at places and opens none of them. A place is a
// file, a directory, or "-" for opts.Stdin. A directory is walked to its
// end, following symbolic links to files but not to directories; every
// regular file in it is an object, whatever its name, unless opts.From and
// opts.To exclude the time that an AWS name tells. An object found twice is
// read once.
//
// A place that does not exist, and a directory without any file, is an
// error.
func Open(places []string, opts Options) (*Local, error) {
	if len(places) == 0 {
		return nil, errors.New(`no place to read; give files, directories, or "-" for standard input`)
	}
	l := &Local{opts: opts}
	seen := make(map[string]bool)
	for _, place := range places {
		found, err := l.find(place)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			if name := filepath.Clean(o.place); !seen[name] {
				seen[name] = true
				l.objects = append(l.objects, o)
			}
		}
	}
	return l, nil
}

// find lists the objects at one place.
func (l *Local) find(place string) ([]object, error) {
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
	return []object{file(place, info.Mode())}, nil
}

func (l *Local) stdin() ([]object, error) {
	if l.opts.Stdin == nil {
		return nil, errors.New("-: there is no standard input to read")
	}
	// The pump closes what it can; standard input is not ours to close.
	stdin := struct{ io.Reader }{l.opts.Stdin}
	return []object{{place: "-", open: func(ctx context.Context) (io.ReadCloser, error) {
		return newCancelReader(ctx, func() (io.Reader, error) { return stdin, nil }), nil
	}}}, nil
}

// file is an object that is a file. What is no regular file, such as a named
// pipe, can block, and can be read only once.
func file(place string, mode fs.FileMode) object {
	if !mode.IsRegular() {
		return object{place: place, open: func(ctx context.Context) (io.ReadCloser, error) {
			return newCancelReader(ctx, func() (io.Reader, error) { return openFile(place) }), nil
		}}
	}
	return object{place: place, rereadable: true, open: func(context.Context) (io.ReadCloser, error) {
		return openFile(place)
	}}
}

func openFile(place string) (io.ReadCloser, error) {
	f, err := os.Open(place)
	if err != nil {
		return nil, errors.Unwrap(err) // the place is added on the way up
	}
	return f, nil
}

func (l *Local) walk(dir string) ([]object, error) {
	var found []object
	files := 0
	visit := func(place string, d fs.DirEntry, err error) error {
		if err != nil || !isFile(place, d) {
			return err
		}
		files++
		if l.mayHold(place) {
			found = append(found, file(place, 0))
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

func (l *Local) mayHold(place string) bool {
	name, ok := parseName(place)
	return !ok || name.mayHold(l.opts.From, l.opts.To)
}

// Records decodes the objects in parallel and merges them by the end of
// their records, then by the order of objects: by time, from the AWS name or
// from the first records, then by name.
//
// The order is that of record ends as far as each object has its records in
// that order. AWS shuffles the five minutes that an object covers, so a
// record can come as much too late as it does inside its object. Where more
// than 64 objects cover the same time, objects wait for others to end, and a
// record can come later by the time that one object covers. An object with a
// name of another form is taken to start at most ten minutes, the longest
// aggregation interval, before its first record.
//
// The sequence of records and errors is the same for any Options.Jobs, and
// at each call as long as the objects are, but for standard input and pipes,
// which can be read once. The sequence ends with ctx's error soon after ctx
// is cancelled; a reader blocked on standard input is left behind until its
// read returns. Not safe for concurrent use.
func (l *Local) Records(ctx context.Context) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		l.count.objects.Store(0)
		l.count.bytes.Store(0)
		merge(ctx, l.objects, &l.opts, &l.count, yield)
	}
}

// Ordered reports whether every object has the time of its records in its
// name. Then a record comes at most about ten minutes behind others that end
// later: five for the disorder inside an object, five where more objects
// cover a time than are open at once. Otherwise objects can hold records of
// any time in any order.
func (l *Local) Ordered() bool {
	return !slices.ContainsFunc(l.objects, func(o object) bool {
		_, named := parseName(o.place)
		return !named
	})
}

// Stats counts what the last sequence of Records has read. It is valid when
// that has ended.
func (l *Local) Stats() Stats {
	return Stats{Objects: int(l.count.objects.Load()), Bytes: l.count.bytes.Load()}
}
