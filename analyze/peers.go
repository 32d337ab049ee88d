package analyze

import "slices"

// manyPeers is how many different peers an endpoint must have had, more
// than its peer, to be called listening. A client port has one, or a few
// when it is reused.
const manyPeers = 4

// A peerTable counts the different endpoints that each endpoint talked to, up
// to manyPeers: more make no difference. Nearly all endpoints are client
// ports, come once and are forgotten after a while; so they lie in one array,
// by open addressing with linear probing, one cache line each.
type peerTable struct {
	slots []peerCount // a power of two; at most three quarters are taken
	n     int
}

// A peerCount is not taken if it has no peer.
type peerCount struct {
	endpoint endpoint
	n        uint8
	last     int64 // when the endpoint was last heard of, in Unix seconds
	seen     [manyPeers]uint64
}

func newPeerTable() peerTable { return peerTable{slots: make([]peerCount, 1024)} }

// find returns the place of an endpoint, taken or not. Its hash is that of its
// address and port.
func (t *peerTable) find(e endpoint, hash uint64) *peerCount {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if c := &t.slots[i]; c.n == 0 || c.endpoint == e {
			return c
		}
	}
}

// count notes that two endpoints talked to each other, at a time in Unix
// seconds. Two peers that share a hash, of 2^64, would be taken for one.
func (t *peerTable) count(a, b endpoint, at int64) {
	x, y := a.addr.Hash(a.port), b.addr.Hash(b.port)
	t.countPeer(a, x, y, at)
	t.countPeer(b, y, x, at)
}

func (t *peerTable) countPeer(e endpoint, hash, peer uint64, at int64) {
	c := t.find(e, hash)
	if c.n == 0 {
		*c = peerCount{endpoint: e, n: 1, last: at, seen: [manyPeers]uint64{peer}}
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

func (t *peerTable) listens(e endpoint) bool { return t.find(e, e.addr.Hash(e.port)).n >= manyPeers }

// forget drops what was last heard of before a time, but for those that
// listen.
func (t *peerTable) forget(before int64) {
	t.rebuild(len(t.slots), func(c *peerCount) bool { return c.n >= manyPeers || c.last >= before })
}

// rebuild makes the table anew of what is to be kept.
func (t *peerTable) rebuild(size int, keep func(*peerCount) bool) {
	old := t.slots
	*t = peerTable{slots: make([]peerCount, size)}
	for i := range old {
		if c := &old[i]; c.n > 0 && keep(c) {
			*t.find(c.endpoint, c.endpoint.addr.Hash(c.endpoint.port)) = *c
			t.n++
		}
	}
}
