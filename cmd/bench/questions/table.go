package questions

import (
	"iter"
	"math/rand/v2"
)

// sums is what records add up to.
type sums struct {
	records, packets, bytes uint64
	start, end              int64 // least and greatest, Unix seconds
}

// add puts more into s; neither is empty.
func (s *sums) add(more *sums) {
	s.records += more.records
	s.packets += more.packets
	s.bytes += more.bytes
	s.start = min(s.start, more.start)
	s.end = max(s.end, more.end)
}

// table aggregates records by keys of type K, without a pointer for the
// garbage collector and without ever moving an entry: entries lie in chunks,
// in the order of their coming, and an index of eight bytes a slot finds them
// by open addressing.
//
// With millions of keys every look-up misses the caches twice, 450 ns if one
// miss waits for the other. So records wait in a batch, and the memory they
// need is touched for all of them before the first is looked up: then the
// misses overlap and cost 55 ns.
type table[K comparable] struct {
	index  []slot
	shift  uint // of a hash's upper 32 bits, to its place in index
	chunks [][]entry[K]
	count  int

	batch   [batchLen]waiting[K]
	waiting int
	sink    uint64 // of what was touched, so that touching is not left out
}

// slot is a hash's upper 32 bits and the number of an entry; 0 is empty. The
// hash answers nearly every question without looking at the entry, and a
// larger index is filled from the slots alone: in the order of hashes, so
// nearly sequentially. 2^32 entries are 250 GB, so their number does not end.
type slot uint64

func newSlot(hash uint64, number int) slot { return slot(hash>>32<<32 | uint64(number)) }

func (s slot) hash() uint32 { return uint32(s >> 32) }
func (s slot) number() int  { return int(uint32(s)) }

type entry[K comparable] struct {
	key  K
	sums sums
}

type waiting[K comparable] struct {
	hash uint64
	entry[K]
}

// tag is what a slot keeps of the hash.
func (w *waiting[K]) tag() uint32 { return uint32(w.hash >> 32) }

const (
	batchLen  = 64
	chunkBits = 12 // 256 KB of entries of 64 bytes
	chunkLen  = 1 << chunkBits
	firstBits = 10 // of the index
)

func newTable[K comparable]() *table[K] {
	return &table[K]{
		index:  make([]slot, 1<<firstBits),
		shift:  32 - firstBits,
		chunks: [][]entry[K]{make([]entry[K], 0, chunkLen)},
		count:  1, // number 0 marks an empty slot
	}
}

// newSeed returns what a table's hashes begin with: chosen anew in each run,
// so that no log can be made to collide.
func newSeed() uint64 { return rand.Uint64() }

// next returns where to write the key and the sums of one more record.
// hash is of the key.
func (t *table[K]) next(hash uint64) *entry[K] {
	if t.waiting == batchLen {
		t.flush()
	}
	w := &t.batch[t.waiting]
	t.waiting++
	w.hash = hash
	return &w.entry
}

// flush looks up what waits.
func (t *table[K]) flush() {
	if t.count+t.waiting > len(t.index)/4*3 {
		t.grow()
	}
	batch := t.batch[:t.waiting]
	for i := range batch {
		t.sink += uint64(t.index[batch[i].tag()>>t.shift])
	}
	for i := range batch {
		if number := t.likely(batch[i].tag()); number != 0 {
			t.sink += t.at(number).sums.records
		}
	}
	for i := range batch {
		t.put(&batch[i])
	}
	t.waiting = 0
}

// likely returns the number of the first entry whose key has a hash, or 0.
func (t *table[K]) likely(hash uint32) int {
	for i := hash >> t.shift; ; i++ {
		s := t.index[int(i)&(len(t.index)-1)]
		if s == 0 || s.hash() == hash {
			return s.number()
		}
	}
}

// put adds w to the entry of its key.
func (t *table[K]) put(w *waiting[K]) {
	hash := w.tag()
	for i := hash >> t.shift; ; i++ {
		at := &t.index[int(i)&(len(t.index)-1)]
		if *at == 0 {
			*at = newSlot(w.hash, t.insert(&w.entry))
			return
		}
		if at.hash() != hash {
			continue
		}
		if e := t.at(at.number()); e.key == w.key {
			e.sums.add(&w.sums)
			return
		}
	}
}

// insert makes an entry and returns its number.
func (t *table[K]) insert(e *entry[K]) int {
	last := len(t.chunks) - 1
	if len(t.chunks[last]) == chunkLen {
		t.chunks = append(t.chunks, make([]entry[K], 0, chunkLen))
		last++
	}
	t.chunks[last] = append(t.chunks[last], *e)
	t.count++
	return t.count - 1
}

// at returns the entry with a number, which counts from 1.
func (t *table[K]) at(number int) *entry[K] {
	return &t.chunks[(number-1)>>chunkBits][(number-1)&(chunkLen-1)]
}

// grow doubles the index.
func (t *table[K]) grow() {
	index := make([]slot, 2*len(t.index))
	t.shift--
	for _, s := range t.index {
		if s == 0 {
			continue
		}
		i := s.hash() >> t.shift
		for index[i] != 0 {
			i = (i + 1) & uint32(len(index)-1)
		}
		index[i] = s
	}
	t.index = index
}

// len returns the number of keys.
func (t *table[K]) len() int {
	t.flush()
	return t.count - 1
}

// all yields the entries in the order of their coming.
func (t *table[K]) all() iter.Seq[*entry[K]] {
	t.flush()
	return func(yield func(*entry[K]) bool) {
		for _, c := range t.chunks {
			for i := range c {
				if !yield(&c[i]) {
					return
				}
			}
		}
	}
}
