package rules

import (
	"cmp"
	"net/netip"
	"slices"
)

// Allowance allows destination ports for a peer.
type Allowance struct {
	Peer  netip.Prefix
	Ports PortSet
}

// Merge returns allowances that allow exactly the same peers and ports with
// as few entries as EntryCount can count. Sibling prefixes give what they
// have in common to their parent, and contained peers give up ports that a
// containing one has. Each peer is named once; the result is sorted by peer
// and does not depend on the order of as. Allowances whose peer is not valid
// or that hold no port allow nothing, and are left out.
//
// The result is the smallest possible. Take one address and a longest range
// of ports allowed for it: the entry for that range and the widest prefix in
// which it is allowed everywhere is needed, because some port of the range is
// allowed in no wider prefix, and any other entry that holds the port there
// is a part of this one. All those entries together allow everything.
func Merge(as []Allowance) []Allowance {
	tree := newPeerTree(as)
	for _, n := range tree {
		if n.isSplit() {
			continue
		}
		for _, r := range n.all.r {
			top := n.widest(r)
			top.needed = append(top.needed, r)
		}
	}
	var merged []Allowance
	for _, n := range tree {
		if n.giveUp(); !n.kept.IsEmpty() {
			merged = append(merged, Allowance{n.prefix, n.kept})
		}
	}
	return merged
}

// EntryCount returns how many network ACL entries the allowances take: one
// for each range of ports of each peer.
func EntryCount(as []Allowance) int {
	n := 0
	for _, a := range as {
		n += len(a.Ports.r)
	}
	return n
}

// A peerNode is a prefix that is a peer, or all of which peers cover.
type peerNode struct {
	prefix netip.Prefix
	parent *peerNode    // the narrowest that contains the prefix
	halves [2]*peerNode // nil where a half of the prefix has no node

	own PortSet // what the allowances give to this prefix
	all PortSet // what they give to all of it: to this prefix or one that contains it
	// most is what every address of the prefix has in the end, from whatever
	// allowances. It is never less than the parent's.
	most PortSet

	needed []PortRange // entries that the result must have
	kept   PortSet     // the same, less what those of containing prefixes hold
	above  PortSet     // what is kept here and above
}

// isSplit reports whether both halves have nodes, so that no address is left
// to the node itself.
func (n *peerNode) isSplit() bool { return n.halves[0] != nil && n.halves[1] != nil }

// widest returns the widest prefix in which the range, which n has, is
// allowed everywhere.
func (n *peerNode) widest(r PortRange) *peerNode {
	for n.parent != nil && Ports(r).Subtract(n.parent.most).IsEmpty() {
		n = n.parent
	}
	return n
}

// giveUp keeps of each range needed what the prefixes above do not hold, in
// one piece.
func (n *peerNode) giveUp() {
	var above PortSet
	if n.parent != nil {
		above = n.parent.above
	}
	var kept []PortRange
	for _, r := range n.needed {
		if missing := Ports(r).Subtract(above); !missing.IsEmpty() {
			kept = append(kept, PortRange{missing.Min(), missing.Max()})
		}
	}
	n.kept = Ports(kept...)
	n.above = above.Union(n.kept)
}

// newPeerTree returns the nodes, those that contain others first.
func newPeerTree(as []Allowance) []*peerNode {
	nodes := make(map[netip.Prefix]*peerNode)
	for _, a := range as {
		if a.Peer.IsValid() && !a.Ports.IsEmpty() {
			n := nodeAt(nodes, a.Peer.Masked())
			n.own = n.own.Union(a.Ports)
		}
	}
	joinSiblings(nodes)
	tree := make([]*peerNode, 0, len(nodes))
	for _, n := range nodes {
		tree = append(tree, n)
	}
	slices.SortFunc(tree, func(x, y *peerNode) int { return comparePrefixes(x.prefix, y.prefix) })
	for i, n := range tree {
		if i > 0 {
			n.parent = tree[i-1].around(n.prefix)
		}
		n.all = n.own
		if n.parent != nil {
			n.all = n.own.Union(n.parent.all)
		}
	}
	for _, n := range slices.Backward(tree) {
		n.most = n.all
		if n.isSplit() {
			n.most = n.all.Union(n.halves[0].most.Intersect(n.halves[1].most))
		}
	}
	return tree
}

func nodeAt(nodes map[netip.Prefix]*peerNode, p netip.Prefix) *peerNode {
	if nodes[p] == nil {
		nodes[p] = &peerNode{prefix: p}
	}
	return nodes[p]
}

// joinSiblings adds the parents of siblings, as often as it gives new
// siblings, and links them to their halves.
func joinSiblings(nodes map[netip.Prefix]*peerNode) {
	var byBits [129][]*peerNode
	for p, n := range nodes {
		byBits[p.Bits()] = append(byBits[p.Bits()], n)
	}
	for bits := 128; bits > 0; bits-- {
		for _, n := range byBits[bits] {
			parent := netip.PrefixFrom(n.prefix.Addr(), bits-1).Masked()
			if n.prefix.Addr() != parent.Addr() {
				continue // the upper half; the lower one looks for it
			}
			upper := nodes[upperHalf(parent)]
			if upper == nil {
				continue
			}
			if nodes[parent] == nil {
				byBits[bits-1] = append(byBits[bits-1], nodeAt(nodes, parent))
			}
			nodes[parent].halves = [2]*peerNode{n, upper}
		}
	}
}

// upperHalf returns the half of p that does not begin where p does.
func upperHalf(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits()+1)
}

// around returns n or the nearest node above it that contains p, or nil.
func (n *peerNode) around(p netip.Prefix) *peerNode {
	for n != nil && !n.prefix.Contains(p.Addr()) {
		n = n.parent
	}
	return n
}

// comparePrefixes orders prefixes by first address, and those that contain
// others before them.
func comparePrefixes(p, q netip.Prefix) int {
	return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
}
