package ingest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listed is a list of objects in memory that counts what is read of each.
type listed struct {
	text string
	read []atomic.Int64
}

func (l *listed) All(context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for i := range l.read {
			o := Object{Place: fmt.Sprintf("object-%02d", i), Open: func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(&counted{strings.NewReader(l.text), &l.read[i]}), nil
			}}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (l *listed) Ordered() bool   { return true }
func (l *listed) Listed() Listing { return Listing{Objects: len(l.read), Share: 1} }

// counted counts what is read.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// While one object is consumed, as many as there are decoders are decoded far
// ahead, so that these keep busy; of the others only the beginning is.
func TestNextObjectsAreDecodedAhead(t *testing.T) {
	const jobs, objects = 2, 8
	l := &listed{text: traffic(v2Header, 2*nextBatches*batchSize), read: make([]atomic.Int64, objects)}
	// What a decoder reads for a number of batches, and of buffers besides.
	record := len(l.text) / (2 * nextBatches * batchSize)
	most := func(batches int) int64 { return int64((batches+2)*batchSize*record) + 512<<10 }
	far := int64((nextBatches - 8) * batchSize * record)
	for range Join(Options{Jobs: jobs}, l).Records(t.Context()) {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if !slices.ContainsFunc([]int{0, 1, jobs}, func(i int) bool { return l.read[i].Load() < far }) {
				break
			}
		}
		break
	}
	for i := range l.read {
		got := l.read[i].Load()
		switch {
		case i <= jobs && (got < far || got > most(nextBatches)):
			t.Errorf("object %d: %d bytes were read ahead, want some %d", i, got, far)
		case i > jobs && got > most(queuedBatches):
			t.Errorf("object %d: %d bytes were read ahead, want %d at most", i, got, most(queuedBatches))
		}
	}
}
