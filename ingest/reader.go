package ingest

import (
	"context"
	"io"
)

// failed is the reader of an object that could not be opened.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// cancelReader reads from what can block for ever, such as a terminal or a
// named pipe, and gives up when its context is done. The blocked goroutine
// ends when the read, or the opening, returns.
type cancelReader struct {
	ctx    context.Context
	chunks chan chunk
	chunk  chunk // rest of the latest
}

type chunk struct {
	data []byte
	err  error
}

func newCancelReader(ctx context.Context, open func() (io.Reader, error)) *cancelReader {
	c := &cancelReader{ctx: ctx, chunks: make(chan chunk)}
	go c.pump(open)
	return c
}

func (c *cancelReader) pump(open func() (io.Reader, error)) {
	r, err := open()
	if err != nil {
		r = failed{err}
	}
	if closer, ok := r.(io.Closer); ok {
		defer closer.Close()
	}
	for {
		data := make([]byte, 64<<10)
		n, err := r.Read(data)
		select {
		case c.chunks <- chunk{data[:n], err}:
		case <-c.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// Read implements io.Reader.
func (c *cancelReader) Read(p []byte) (int, error) {
	if len(c.chunk.data) == 0 && c.chunk.err == nil {
		select {
		case c.chunk = <-c.chunks:
		case <-c.ctx.Done():
			return 0, c.ctx.Err()
		}
	}
	n := copy(p, c.chunk.data)
	c.chunk.data = c.chunk.data[n:]
	if len(c.chunk.data) > 0 {
		return n, nil
	}
	return n, c.chunk.err
}

// Close implements io.Closer. What is open is closed by the pump.
func (c *cancelReader) Close() error { return nil }
