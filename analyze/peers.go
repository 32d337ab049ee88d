package analyze

import (
	"math"
	"slices"
)

// manyPeers is how many different peers an endpoint must have had, more
// than its peer, to be called listening. A client port has one, or a few
// when it is reused.
const manyPeers = 4

// A peerTable counts the different endpoints that each endpoint talked to, up
// to manyPeers: more make no difference. Nearly all endpoints are client
// ports, come once and are forgotten after a while; so they lie in one array,
// by open addressing with linear probing, two to a cache line, and for an
// endpoint stands its hash. Two that share one, of 2^64, would be taken for
// one, and two peers of one endpoint, of 2^32.
type peerTable struct {
	slots []peerCount // a power of two; at most three quarters are taken
	n     int
}

// A peerCount is not taken if it has no peer.
type peerCount struct {
	endpoint uint64
	seen     [manyPeers]uint32
	last     uint32 // when the endpoint was last heard of, in Unix seconds; in 2106 or later, then
	n        uint8
}

func newPeerTable() peerTable { return peerTable{slots: make([]peerCount, 1024)} }

func (e endpoint) hash() uint64 {
	return e.addr.TableHash(tableSeed ^ uint64(e.proto)<<16 ^ uint64(e.port))
}

// find returns the place of an endpoint, taken or not.
func (t *peerTable) find(endpoint uint64) *peerCount {
	mask := uint64(len(t.slots) - 1)
	for i := endpoint & mask; ; i = (i + 1) & mask {
		if c := &t.slots[i]; c.n == 0 || c.endpoint == endpoint {
			return c
		}
	}
}

// touch loads what count will want; see groupTable.touch.
func (t *peerTable) touch(a, b endpoint) int64 {
	mask := uint64(len(t.slots) - 1)
	return int64(t.slots[a.hash()&mask].n) + int64(t.slots[b.hash()&mask].n)
}

// count notes that two endpoints talked to each other, at a time in Unix
// seconds.
func (t *peerTable) count(a, b endpoint, at int64) {
	x, y, last := a.hash(), b.hash(), uint32(min(max(at, 0), math.MaxUint32))
	t.countPeer(x, uint32(y>>32), last)
	t.countPeer(y, uint32(x>>32), last)
}

func (t *peerTable) countPeer(endpoint uint64, peer, at uint32) {
	c := t.find(endpoint)
	if c.n == 0 {
		*c = peerCount{endpoint: endpoint, n: 1, last: at, seen: [manyPeers]uint32{peer}}
		if t.n++; 4*t.n > 3*len(t.slots) {
			t.rebuild(2*len(t.slots), func(*peerCount) bool { return true })
		}
		return
	}
	c.last = max(c.last, at)
	if c.n < manyPeers && !slices.Contains(c.seen[:c.n], peer) {
		c.seen[c.n] = peer
		c.n++
	}
}

func (t *peerTable) listens(e endpoint) bool { return t.find(e.hash()).n >= manyPeers }

// forget drops what was last heard of before a time, but for those that
// listen.
func (t *peerTable) forget(before int64) {
	t.rebuild(len(t.slots), func(c *peerCount) bool { return c.n >= manyPeers || int64(c.last) >= before })
}

// rebuild makes the table anew of what is to be kept.
func (t *peerTable) rebuild(size int, keep func(*peerCount) bool) {
	old := t.slots
	*t = peerTable{slots: make([]peerCount, size)}
	for i := range old {
		if c := &old[i]; c.n > 0 && keep(c) {
			*t.find(c.endpoint) = *c
			t.n++
		}
	}
}
