package analyze

// An arena hands out values that are done with all together: when it is
// emptied, it hands out the same memory again. What a stock makes, some
// megabytes, so stays in the processor's caches from one to the next, and
// is no work for the garbage collector.
type arena[T any] struct {
	chunks [][]T
	used   int // chunks that have been handed out wholly
	next   int // in the chunk behind them
}

// arenaChunk is how many values are allocated at once.
const arenaChunk = 1 << 10

// empty takes all values back.
func (a *arena[T]) empty() { a.used, a.next = 0, 0 }

// take hands out n values, which hold anything.
func (a *arena[T]) take(n int) []T {
	if n > arenaChunk {
		return make([]T, n) // so rare that it is not kept
	}
	if a.next+n > arenaChunk {
		a.used, a.next = a.used+1, 0
	}
	if a.used == len(a.chunks) {
		a.chunks = append(a.chunks, make([]T, arenaChunk))
	}
	from := a.next
	a.next += n
	return a.chunks[a.used][from:a.next:a.next]
}

// copyOf hands out a copy of values.
func (a *arena[T]) copyOf(vs []T) []T {
	kept := a.take(len(vs))
	copy(kept, vs)
	return kept
}
