package analyze

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
)

// How much a sorter keeps in memory before it writes it to its file: so many
// values, and no more bytes than heldBytes. A rejected flow takes some 80
// bytes, a connection with its legs some 200.
const (
	heldRows        = 16 << 10
	heldConnections = 16 << 10
	heldBytes       = 2 << 20
)

// maxRuns is how many runs of one length are merged at once: each takes a
// buffer of runBuffer bytes. So many runs become one, and a value is written
// again whenever there are sixty times as many.
const (
	maxRuns   = 60
	runBuffer = 16 << 10
)

// A sorter puts any number of values into order in bounded memory. It keeps
// them as bytes, an order of magnitude less than the values are, which need
// not be looked at by the garbage collector. Beyond limit of them, it writes
// sorted runs to a temporary file and merges these as they are read.
//
// Keys, see coder, are in the order of compare as far as they go; values of
// one key are compared.
type sorter[T any] struct {
	compare func(a, b T) int
	codec   codec[T]
	limit   int
	names   names
	value   T     // the one that is added
	writer  coder // its b are the bytes of held
	held    []entry
	sorted  bool // held is
	n       int
	file    *os.File
	size    int64 // of file
	// runs are in the order in which their values were added, and so the
	// oldest have the highest level.
	runs []run
	err  error // the first one of the file

	// reading is held by whoever of several readers sorts, or sets err.
	reading sync.Mutex
}

// A packed value is one as bytes.
type packed struct {
	b      []byte
	key    int    // the length of the key
	prefix uint64 // the first eight bytes of the key
}

func newPacked(b []byte, key int) packed {
	if key >= 8 {
		return packed{b, key, binary.BigEndian.Uint64(b)}
	}
	var first [8]byte
	copy(first[:], b[:key])
	return packed{b, key, binary.BigEndian.Uint64(first[:])}
}

// entry is a record that is held: where its bytes are, and those that decide
// most comparisons.
type entry struct {
	prefix  uint64
	at      int
	n, keyN uint32
}

// run is a part of the file, with n records. One of level 0 was held, others
// were merged from maxRuns of the level below.
type run struct {
	offset, size int64
	n, level     int
	longest      int    // of its records, in bytes
	sum          uint32 // of its bytes
}

// newSorter makes a sorter that keeps limit values in memory.
func newSorter[T any](compare func(a, b T) int, c codec[T], limit int) *sorter[T] {
	return &sorter[T]{compare: compare, codec: c, limit: limit}
}

// add takes one value.
func (s *sorter[T]) add(v T) {
	s.n++
	s.sorted = false
	s.value = v
	s.hold()
	if (len(s.held) >= s.limit || len(s.writer.b) >= heldBytes) && s.err == nil {
		if s.err = s.spill(); s.err != nil {
			return
		}
		s.held, s.writer.b = s.held[:0], s.writer.b[:0]
		for level := 0; s.err == nil && s.full(level); level++ {
			s.err = s.compact(level)
		}
	}
}

// hold appends value to what is held.
func (s *sorter[T]) hold() {
	w := &s.writer
	at := len(w.b)
	w.key, w.names = at, &s.names
	s.codec(w, &s.value)
	r := newPacked(w.b[at:], w.key-at)
	s.held = append(s.held, entry{r.prefix, at, uint32(len(r.b)), uint32(r.key)})
}

// packed returns the value that is held there.
func (s *sorter[T]) packed(e entry) packed {
	return packed{s.writer.b[e.at : e.at+int(e.n)], int(e.keyN), e.prefix}
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
	merged, err := s.write(level+1, m.all())
	if err != nil || m.err != nil {
		return cmp.Or(m.err, err)
	}
	s.runs = append(s.runs[:len(s.runs)-maxRuns], merged)
	return nil
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
	r, err := s.write(0, s.allHeld())
	if err == nil {
		s.runs = append(s.runs, r)
	}
	return err
}

// allHeld yields what is held, in order.
func (s *sorter[T]) allHeld() iter.Seq[packed] {
	s.sort()
	return func(yield func(packed) bool) {
		for _, e := range s.held {
			if !yield(s.packed(e)) {
				return
			}
		}
	}
}

// write appends a run of the records, which are in order, to the file.
func (s *sorter[T]) write(level int, records iter.Seq[packed]) (run, error) {
	r := run{offset: s.size, level: level}
	b := make([]byte, 0, 64<<10)
	flush := func() error {
		n, err := s.file.WriteAt(b, s.size)
		r.sum, r.size = crc32.Update(r.sum, castagnoli, b), r.size+int64(n)
		s.size, b = s.size+int64(n), b[:0]
		return err
	}
	for rec := range records {
		n := len(b)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(len(rec.b))), uint64(rec.key))
		b = append(b, rec.b...)
		r.n, r.longest = r.n+1, max(r.longest, len(b)-n)
		if len(b) >= 60<<10 {
			if err := flush(); err != nil {
				return r, err
			}
		}
	}
	return r, flush()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *sorter[T]) sort() {
	if s.sorted {
		return
	}
	slices.SortFunc(s.held, func(a, b entry) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return cmp.Or(s.order(s.packed(a), s.packed(b)), cmp.Compare(a.at, b.at))
	})
	s.sorted = true
}

// order compares two records with the same prefix.
func (s *sorter[T]) order(a, b packed) int {
	if c := bytes.Compare(a.b[:a.key], b.b[:b.key]); c != 0 {
		return c
	}
	x, errX := s.read(a)
	y, errY := s.read(b)
	if errX != nil || errY != nil {
		return 0 // whoever reads them next is told
	}
	return s.compare(x, y)
}

// read returns the value of a record.
func (s *sorter[T]) read(r packed) (v T, err error) {
	c := s.reader()
	err = s.readInto(&v, c, r)
	return v, err
}

func (s *sorter[T]) reader() *coder { return &coder{reading: true, names: &s.names} }

// readInto sets v to the value of a record.
func (s *sorter[T]) readInto(v *T, c *coder, r packed) error {
	c.b, c.err = r.b, nil
	s.codec(c, v)
	if len(c.b) > 0 {
		c.fail()
	}
	return c.err
}

// len returns how many values were added.
func (s *sorter[T]) len() int { return s.n }

// all yields the values in order, equal ones as they were added. It can be
// called again, and from several goroutines when all values are added. It ends
// early when the file cannot be read: see failure.
func (s *sorter[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		v := new(T)
		for range s.each(v) {
			if !yield(*v) {
				return
			}
		}
	}
}

// each sets v to one value after the other, as all yields them.
func (s *sorter[T]) each(v *T) func(yield func() bool) {
	return func(yield func() bool) {
		s.reading.Lock()
		s.sort()
		s.reading.Unlock()
		m := s.newMerge(s.runs)
		m.push(&cursor{index: len(s.runs), next: s.nextHeld()})
		c := s.reader()
		for r := m.first(); r != nil; r = m.next() {
			if m.fail(s.readInto(v, c, *r)); m.err != nil {
				break
			}
			if !yield() {
				return
			}
		}
		s.reading.Lock()
		s.err = cmp.Or(s.err, m.err)
		s.reading.Unlock()
	}
}

// failure returns the first error of writing or reading values.
func (s *sorter[T]) failure() error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.err
}

// nextHeld returns a function that returns what is held, in order.
func (s *sorter[T]) nextHeld() func(*packed) error {
	i := 0
	return func(r *packed) error {
		if i == len(s.held) {
			return io.EOF
		}
		*r = s.packed(s.held[i])
		i++
		return nil
	}
}

// close removes the file.
func (s *sorter[T]) close() {
	if s.file != nil {
		_ = s.file.Close()           // it is thrown away
		_ = os.Remove(s.file.Name()) // gone already, on most systems
	}
}

// newMerge makes a merge of runs.
func (s *sorter[T]) newMerge(runs []run) *merge {
	m := &merge{order: s.order}
	for i, r := range runs {
		read := &runReader{file: s.file, run: r, buffer: make([]byte, 0, runBuffer)}
		m.push(&cursor{index: i, next: read.next})
	}
	return m
}

// merge is a heap of cursors: none comes before the first.
type merge struct {
	order   func(a, b packed) int
	cursors []*cursor
	err     error // the first one of reading
}

// cursor is the next record of one run.
type cursor struct {
	packed
	index int
	next  func(*packed) error // io.EOF behind the last
}

// all yields the records in order, and empties the merge.
func (m *merge) all() iter.Seq[packed] {
	return func(yield func(packed) bool) {
		for r := m.first(); r != nil; r = m.next() {
			if !yield(*r) {
				return
			}
		}
	}
}

// first returns the first record, valid until next is called; nil when there
// is none, or the merge has failed.
func (m *merge) first() *packed {
	if len(m.cursors) == 0 || m.err != nil {
		return nil
	}
	return &m.cursors[0].packed
}

// next drops the first record and returns the one that comes then.
func (m *merge) next() *packed {
	if !m.advance(m.cursors[0]) {
		last := len(m.cursors) - 1
		m.cursors[0], m.cursors = m.cursors[last], m.cursors[:last]
	}
	m.down(0)
	return m.first()
}

// push takes a cursor that has not begun.
func (m *merge) push(c *cursor) {
	if !m.advance(c) {
		return
	}
	m.cursors = append(m.cursors, c)
	for i := len(m.cursors) - 1; i > 0; {
		parent := (i - 1) / 2
		if !m.less(i, parent) {
			break
		}
		m.cursors[i], m.cursors[parent] = m.cursors[parent], m.cursors[i]
		i = parent
	}
}

// down moves the i-th cursor to its place among those behind it.
func (m *merge) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(m.cursors); child++ {
			if m.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		m.cursors[i], m.cursors[least] = m.cursors[least], m.cursors[i]
		i = least
	}
}

func (m *merge) less(i, j int) bool {
	a, b := m.cursors[i], m.cursors[j]
	if a.prefix != b.prefix {
		return a.prefix < b.prefix
	}
	c := m.order(a.packed, b.packed)
	return c < 0 || c == 0 && a.index < b.index
}

// advance reads the cursor's next record and reports whether there is one.
func (m *merge) advance(c *cursor) bool {
	err := c.next(&c.packed)
	if err == io.EOF {
		return false
	}
	m.fail(err)
	return err == nil
}

func (m *merge) fail(err error) {
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("reading back a temporary file: %w", err)
	}
}

// runReader reads the records of a run.
type runReader struct {
	file   io.ReaderAt
	run    run    // what is left of it in the file
	buffer []byte // as it was read last
	b      []byte // what is left of it
	sum    uint32 // of what was read
}

// next sets rec to the next record, valid until it is called again.
func (r *runReader) next(rec *packed) error {
	if r.run.n == 0 {
		if len(r.b) > 0 || r.run.size > 0 || r.sum != r.run.sum {
			return errDamaged
		}
		return io.EOF
	}
	r.run.n--
	if len(r.b) < r.run.longest && r.run.size > 0 {
		if err := r.fill(); err != nil {
			return err
		}
	}
	n, i := binary.Uvarint(r.b)
	key, j := binary.Uvarint(r.b[max(0, i):])
	head := i + j
	if i <= 0 || j <= 0 || n > uint64(len(r.b)-head) || key > n {
		return errDamaged
	}
	*rec = newPacked(r.b[head:head+int(n)], int(key))
	r.b = r.b[head+int(n):]
	return nil
}

// fill reads on, at least a record if so much is left.
func (r *runReader) fill() error {
	have := len(r.b)
	size := int(min(int64(max(runBuffer, r.run.longest)), int64(have)+r.run.size))
	buffer := slices.Grow(r.buffer[:0], size)[:size]
	copy(buffer, r.b)
	if _, err := r.file.ReadAt(buffer[have:], r.run.offset); err != nil {
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	r.sum = crc32.Update(r.sum, castagnoli, buffer[have:])
	r.run.offset += int64(size - have)
	r.run.size -= int64(size - have)
	r.buffer, r.b = buffer, buffer
	return nil
}
