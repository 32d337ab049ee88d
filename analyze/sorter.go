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

// How many values a sorter keeps in memory before it writes them to its file:
// about half a megabyte of rows, and of connections with their legs.
const (
	heldRows        = 2 << 10
	heldConnections = 1 << 9
)

// maxRuns is how many runs of one length are merged at once: each takes a
// buffer and a decoder, together some 30 kB. So many runs become one, and a
// value is written again whenever there are sixty times as many.
const maxRuns = 60

// A sorter puts any number of values into order in bounded memory. Beyond
// limit of them, it writes sorted runs to a temporary file and merges these
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
	// runs are in the order in which their values were added, and so the
	// oldest have the highest level.
	runs []run
	err  error // the first one of the file
}

// A codec makes the writer and the reader of one run.
type codec[T any] struct {
	writer func(io.Writer) func(T) error
	reader func(io.Reader) func() (T, error)
}

// run is a part of the file, with n values. One of level 0 was held, others
// were merged from maxRuns of the level below.
type run struct {
	offset, size int64
	n, level     int
}

// newSorter makes a sorter that keeps limit values in memory.
func newSorter[T any](compare func(a, b T) int, c codec[T], limit int) *sorter[T] {
	return &sorter[T]{compare: compare, codec: c, limit: limit}
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
		for level := 0; s.err == nil && s.full(level); level++ {
			s.err = s.compact(level)
		}
	}
}

// full reports whether there are maxRuns of the level.
func (s *sorter[T]) full(level int) bool {
	n := len(s.runs)
	return n >= maxRuns && s.runs[n-maxRuns].level == level
}

// compact merges the last maxRuns runs into one. The place that they had in
// the file is not used again.
func (s *sorter[T]) compact(level int) error {
	old := s.runs[len(s.runs)-maxRuns:]
	m := s.newMerge(old)
	if err := s.write(level+1, m.all()); err != nil {
		return err
	}
	last := s.runs[len(s.runs)-1]
	s.runs = append(s.runs[:len(s.runs)-1-maxRuns], last)
	return m.err
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
	return s.write(0, slices.Values(s.held))
}

// write appends a run of the values, which are in order, to the file.
func (s *sorter[T]) write(level int, values iter.Seq[T]) error {
	w := &countingWriter{w: io.NewOffsetWriter(s.file, s.size)}
	buffered := bufio.NewWriterSize(w, 64<<10)
	write := s.codec.writer(buffered)
	n := 0
	for v := range values {
		if err := write(v); err != nil {
			return err
		}
		n++
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, run{s.size, w.n, n, level})
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
		m := s.newMerge(s.runs)
		rest := s.held
		m.push(&cursor[T]{index: len(s.runs), left: len(rest), next: func() (v T, err error) {
			v, rest = rest[0], rest[1:]
			return v, nil
		}})
		for v := range m.all() {
			if !yield(v) {
				return
			}
		}
		s.err = cmp.Or(s.err, m.err)
	}
}

// newMerge makes a merge of runs.
func (s *sorter[T]) newMerge(runs []run) *merge[T] {
	m := &merge[T]{compare: s.compare}
	for i, r := range runs {
		read := s.codec.reader(bufio.NewReaderSize(io.NewSectionReader(s.file, r.offset, r.size), 16<<10))
		m.push(&cursor[T]{index: i, left: r.n, next: read})
	}
	return m
}

// all yields the values in order, and empties the merge.
func (m *merge[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for len(m.cursors) > 0 {
			c := m.cursors[0]
			if !yield(c.value) {
				return
			}
			if m.advance(c) {
				heap.Fix(m, 0)
			} else {
				heap.Pop(m)
			}
		}
	}
}

func (m *merge[T]) push(c *cursor[T]) {
	if m.advance(c) {
		heap.Push(m, c)
	}
}

// advance reads the cursor's next value and reports whether there is one.
func (m *merge[T]) advance(c *cursor[T]) bool {
	if c.left == 0 {
		return false
	}
	c.left--
	var err error
	if c.value, err = c.next(); err != nil && m.err == nil {
		m.err = fmt.Errorf("reading back a temporary file: %w", err)
	}
	return err == nil
}

// close removes the file.
func (s *sorter[T]) close() {
	if s.file != nil {
		_ = s.file.Close()           // it is thrown away
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
	err     error // the first one of reading
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
