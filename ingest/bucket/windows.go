package bucket

import (
	"errors"
	"io"
	"slices"
	"sync"
)

const (
	// wholeSize is up to which size an object is read in one request, even
	// when only a part of it is wanted.
	wholeSize = 1 << 20
	// peekSize is the same where only the beginning is wanted as a rule.
	peekSize = 128 << 10
	// windowSize is how much is read when less is wanted: a request costs as
	// much time as some hundred kilobytes.
	windowSize = 64 << 10
	// headSize is how much Read gives at first of what is named as Parquet,
	// to show that it is. What is wanted of it is elsewhere.
	headSize = 512
	// windowsKept are for the footer of Parquet and small parts near each
	// other. Larger parts are not kept: they are read once.
	windowsKept = 8
)

// windows are parts of an object that are in memory, the latest last.
type windows struct {
	mu    sync.Mutex
	whole int64 // size up to which there is one window for all
	head  int64 // size of the first window, when no more is wanted
	list  []span64
}

// span64 is the part of an object from off on.
type span64 struct {
	off  int64
	data []byte
}

// ReadAt implements io.ReaderAt. Parts of more than windowSize are asked for
// as they are, so that only what is wanted is transferred, and parts near
// each other share a request.
func (o *opened) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read in front of the beginning")
	}
	w := &o.windows
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= o.entry.size {
			return n, io.EOF
		}
		if m := w.copy(p[n:], at); m > 0 {
			n += m
			continue
		}
		wanted := min(int64(len(p)-n), o.entry.size-at)
		if wanted > windowSize && o.entry.size > w.whole {
			m, err := o.fetch(p[n:n+int(wanted)], at)
			if n += m; err != nil {
				return n, err
			}
			continue
		}
		if err := o.load(at, wanted); err != nil {
			return n, err
		}
	}
	return n, nil
}

// copy copies what there is in memory from off on.
func (w *windows) copy(p []byte, off int64) int {
	for i, s := range slices.Backward(w.list) {
		if off >= s.off && off < s.off+int64(len(s.data)) {
			w.list = append(slices.Delete(w.list, i, i+1), s)
			return copy(p, s.data[off-s.off:])
		}
	}
	return 0
}

// load reads the window around what is wanted.
func (o *opened) load(off, wanted int64) error {
	w, size := &o.windows, o.entry.size
	length := int64(windowSize)
	switch {
	case size <= w.whole:
		off, length = 0, size
	case off >= size-windowSize:
		off = size - windowSize // the footer
	case off == 0 && wanted <= w.head:
		length = w.head
	}
	s := span64{off, make([]byte, min(length, size-off))}
	if _, err := o.fetch(s.data, off); err != nil {
		return err
	}
	if len(w.list) == windowsKept {
		w.list = slices.Delete(w.list, 0, 1)
	}
	w.list = append(w.list, s)
	return nil
}

// fetch reads a part of the object into p.
func (o *opened) fetch(p []byte, off int64) (int, error) {
	d := &download{o: o, next: off, end: off + int64(len(p))}
	defer d.Close()
	return io.ReadFull(d, p)
}
