package analyze

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/gob"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// maxHeld is how many values a sorter keeps in memory before it writes them
// to its file: a few megabytes of rows.
const maxHeld = 16 << 10

// A sorter puts any number of values into order in bounded memory. Beyond
// maxHeld of them, it writes sorted runs to a temporary file and merges these
// as they are read.
type sorter[T any] struct {
	compare func(a, b T) int
	codec   codec[T]
	limit   int
	held    []T
	sorted  bool // held is
	n       int
	file    *os.File
	size    int64 // of file
	runs    []run
	err     error // the first one of the file
}

// A codec makes the writer and the reader of one run.
type codec[T any] struct {
	writer func(io.Writer) func(T) error
	reader func(io.Reader) func() (T, error)
}

// run is a part of the file, with n values.
type run struct {
	offset, size int64
	n            int
}

// newSorter makes a sorter that keeps limit values in memory; 0 means
// maxHeld.
func newSorter[T any](compare func(a, b T) int, c codec[T], limit int) *sorter[T] {
	return &sorter[T]{compare: compare, codec: c, limit: cmp.Or(limit, maxHeld)}
}

// gobCodec writes values by their exported fields.
func gobCodec[T any]() codec[T] {
	return codec[T]{
		writer: func(w io.Writer) func(T) error {
			e := gob.NewEncoder(w)
			return func(v T) error { return e.Encode(&v) }
		},
		reader: func(r io.Reader) func() (T, error) {
			d := gob.NewDecoder(r)
			return func() (v T, err error) {
				err = d.Decode(&v)
				return v, err
			}
		},
	}
}

// add takes one value.
func (s *sorter[T]) add(v T) {
	s.n++
	s.sorted = false
	s.held = append(s.held, v)
	if len(s.held) >= s.limit && s.err == nil {
		if s.err = s.spill(); s.err != nil {
			return
		}
		clear(s.held)
		s.held = s.held[:0]
	}
}

// spill writes what is held as one run.
func (s *sorter[T]) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "ephemera-rows-*")
		if err != nil {
			return err
		}
		s.file = f
		// Where a system allows it, the file goes away with the process,
		// whatever becomes of that.
		_ = os.Remove(f.Name())
	}
	s.sort()
	w := &countingWriter{w: io.NewOffsetWriter(s.file, s.size)}
	buffered := bufio.NewWriterSize(w, 64<<10)
	write := s.codec.writer(buffered)
	for _, v := range s.held {
		if err := write(v); err != nil {
			return err
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, run{s.size, w.n, len(s.held)})
	s.size += w.n
	return nil
}

func (s *sorter[T]) sort() {
	if !s.sorted {
		slices.SortStableFunc(s.held, s.compare)
		s.sorted = true
	}
}

// len returns how many values were added.
func (s *sorter[T]) len() int { return s.n }

// all yields the values in order, equal ones as they were added. It can be
// called again. It ends early when the file cannot be read: see err.
func (s *sorter[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		s.sort()
		if len(s.runs) == 0 {
			for _, v := range s.held {
				if !yield(v) {
					return
				}
			}
			return
		}
		s.merge(yield)
	}
}

// merge yields the values of all runs and those that are held.
func (s *sorter[T]) merge(yield func(T) bool) {
	m := &merge[T]{compare: s.compare}
	for i, r := range s.runs {
		read := s.codec.reader(bufio.NewReaderSize(io.NewSectionReader(s.file, r.offset, r.size), 16<<10))
		s.push(m, &cursor[T]{index: i, left: r.n, next: read})
	}
	rest := s.held
	s.push(m, &cursor[T]{index: len(s.runs), left: len(rest), next: func() (v T, err error) {
		v, rest = rest[0], rest[1:]
		return v, nil
	}})
	for len(m.cursors) > 0 {
		c := m.cursors[0]
		if !yield(c.value) {
			return
		}
		if s.advance(c) {
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
	}
}

func (s *sorter[T]) push(m *merge[T], c *cursor[T]) {
	if s.advance(c) {
		heap.Push(m, c)
	}
}

// advance reads the cursor's next value and reports whether there is one.
func (s *sorter[T]) advance(c *cursor[T]) bool {
	if c.left == 0 {
		return false
	}
	c.left--
	var err error
	if c.value, err = c.next(); err != nil && s.err == nil {
		s.err = fmt.Errorf("reading back a temporary file: %w", err)
	}
	return err == nil
}

// close removes the file.
func (s *sorter[T]) close() {
	if s.file != nil {
		s.file.Close()
		_ = os.Remove(s.file.Name()) // gone already, on most systems
	}
}

// cursor is the next value of one run.
type cursor[T any] struct {
	index int
	value T
	left  int // values behind this one
	next  func() (T, error)
}

// merge is a heap of cursors.
type merge[T any] struct {
	compare func(a, b T) int
	cursors []*cursor[T]
}

func (m *merge[T]) Len() int { return len(m.cursors) }
func (m *merge[T]) Less(i, j int) bool {
	a, b := m.cursors[i], m.cursors[j]
	c := m.compare(a.value, b.value)
	return c < 0 || c == 0 && a.index < b.index
}
func (m *merge[T]) Swap(i, j int) { m.cursors[i], m.cursors[j] = m.cursors[j], m.cursors[i] }
func (m *merge[T]) Push(x any)    { m.cursors = append(m.cursors, x.(*cursor[T])) }
func (m *merge[T]) Pop() any {
	last := m.cursors[len(m.cursors)-1]
	m.cursors = m.cursors[:len(m.cursors)-1]
	return last
}

// countingWriter counts what is written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
