package bucket

import (
	"context"
	"errors"
	"io"
)

// chunkSize is how much is read ahead at a time.
const chunkSize = 256 << 10

// ownChunks is how many chunks an open object can hold whatever others hold:
// one that is being read and one that is being filled. So the object whose
// turn it is goes on when those behind it have taken all of the budget.
const ownChunks = 2

// A stream reads an object from its beginning to its end, ahead of its
// reader. Each chunk needs a permit: one of the stream's own, or one of the
// store's, that all open objects share.
type stream struct {
	own    chan struct{} // permits, put back when a chunk has been read
	chunks chan chunk    // has room for all permits; closed behind the last
	err    error         // that ended the stream; valid when chunks is closed
	chunk  chunk         // that is being read
}

// chunk is a part of an object.
type chunk struct {
	data   []byte // what has not been read of it
	buffer *[chunkSize]byte
	permit chan<- struct{} // where to give the permit back
	store  *Store
}

// release gives back the buffer and the permit.
func (c *chunk) release() {
	if c.buffer != nil {
		c.store.buffers.Put(c.buffer)
		c.permit <- struct{}{}
		*c = chunk{}
	}
}

func newStream(o *opened) *stream {
	permits := ownChunks + cap(o.store.ahead)
	s := &stream{own: make(chan struct{}, ownChunks), chunks: make(chan chunk, min(int64(permits), o.entry.size/chunkSize+2))}
	for range ownChunks {
		s.own <- struct{}{}
	}
	go s.pump(o)
	return s
}

// errRandom ends the stream of an object that is Parquet, without saying so
// in its name: it is not read from its beginning to its end.
var errRandom = errors.New("not to be read as a stream")

// pump reads chunk after chunk.
func (s *stream) pump(o *opened) {
	defer close(s.chunks)
	src := &download{o: o, end: o.entry.size}
	defer src.Close()
	for s.err == nil {
		c, ok := s.acquire(o)
		if !ok {
			s.err = o.ctx.Err()
			break
		}
		var n int
		n, s.err = fill(src, c.buffer[:])
		c.data = c.buffer[:n]
		if n == 0 {
			c.release()
			continue
		}
		s.chunks <- c
	}
	if o.ctx.Err() != nil {
		s.drop() // whoever closed the object may have done so too early
	}
}

// fill reads p full, but of Parquet only the beginning.
func fill(src *download, p []byte) (int, error) {
	const magic = "PAR1"
	n := 0
	if src.next == 0 {
		var err error
		if n, err = io.ReadFull(src, p[:min(len(magic), int(src.end))]); err != nil {
			return n, err
		}
		if string(p[:n]) == magic {
			return n, errRandom
		}
	}
	m, err := io.ReadFull(src, p[n:])
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n + m, err
}

// acquire waits for a permit. It reports false when the object is closed.
func (s *stream) acquire(o *opened) (chunk, bool) {
	c := chunk{store: o.store}
	select {
	case <-s.own:
		c.permit = s.own
	default:
		select {
		case <-s.own:
			c.permit = s.own
		case <-o.store.ahead:
			c.permit = o.store.ahead
		case <-o.ctx.Done():
			return c, false
		}
	}
	c.buffer = o.store.buffers.Get().(*[chunkSize]byte)
	return c, true
}

// read is Read of io.Reader. The error errRandom says to go on by windows.
func (s *stream) read(ctx context.Context, p []byte) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	for len(s.chunk.data) == 0 {
		s.chunk.release()
		select {
		case c, ok := <-s.chunks:
			if !ok {
				return 0, s.err
			}
			s.chunk = c
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n := copy(p, s.chunk.data)
	s.chunk.data = s.chunk.data[n:]
	return n, nil
}

// close gives back what has not been read. The object's context has been
// cancelled, so that the pump ends.
func (s *stream) close() {
	s.chunk.release()
	s.drop()
}

// drop gives back the chunks that are there.
func (s *stream) drop() {
	for {
		select {
		case c, ok := <-s.chunks:
			if !ok {
				return
			}
			c.release()
		default:
			return
		}
	}
}
