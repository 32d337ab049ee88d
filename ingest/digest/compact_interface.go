package digest

import (
	"strings"

	"ephemera/ingest/flow"
)

// seenInterface is what decides whether an interface's records may be merged:
// not if it may be a NAT gateway's, whose two sides are matched record by
// record, or if several flow logs are of it, which deliver one traffic twice.
//
// A NAT gateway's interface is no instance's, and other hosts' addresses stand
// in its records' headers. Where the log has no header addresses, private
// hosts talk to a port of it, and it talks to the same port of others. A port
// below 1024 is enough to tell: FTP has one, the web has one. A gateway that
// passes none is missed, and merged on both sides alike.
type seenInterface struct {
	id         string
	seen       bool
	log        string // the first one
	several    bool   // flow logs
	instance   bool   // it is one's
	translates bool   // headers have other addresses than records

	// Of records without header addresses: whether both ends were private, or
	// not, in some, and what each address may be that all of them have.
	inner, outer bool
	own          []ownAddr
}

// An ownAddr is what an interface is if an address is its own.
type ownAddr struct {
	addr flow.Addr
	// listens are the ports of its own that private hosts talked to, asks those
	// of others that it talked to, below 1024.
	listens, asks lowPorts
}

// lowPorts is a set of ports below 1024.
type lowPorts [16]uint64

func (p *lowPorts) add(port uint16) {
	if int(port) < 64*len(p) {
		p[port/64] |= 1 << (port % 64)
	}
}

func (p *lowPorts) meets(q *lowPorts) bool {
	for i := range p {
		if p[i]&q[i] != 0 {
			return true
		}
	}
	return false
}

// mayMerge reports whether single records of the interface tell nothing.
func (i *seenInterface) mayMerge() bool { return !i.several && !i.mayBeNAT() }

func (i *seenInterface) mayBeNAT() bool {
	switch {
	case strings.HasPrefix(i.id, "nat-"):
		return true
	case i.instance:
		return false
	}
	return i.translates || i.inner && i.outer && i.forwards()
}

// forwards reports whether it may send on what private hosts send to it. It
// may if no address stands in all records: then it is not known which its own
// is.
func (i *seenInterface) forwards() bool {
	for k := range i.own {
		if i.own[k].listens.meets(&i.own[k].asks) {
			return true
		}
	}
	return len(i.own) == 0
}

// learn takes a record with traffic. It reports whether its interface's records
// might be merged before, and may not be any more.
func (i *seenInterface) learn(r *flow.Record) (news bool) {
	could := i.seen && i.mayMerge()
	i.instance = i.instance || r.InstanceID != ""
	if r.PktSrc.IsValid() && r.PktDst.IsValid() && r.Src.IsValid() && r.Dst.IsValid() {
		i.translates = i.translates || r.PktSrc != r.Src || r.PktDst != r.Dst
	} else {
		i.learnAddrs(r.Tuple())
	}
	if !i.seen {
		i.seen, i.log = true, r.FlowLogID
	}
	i.several = i.several || i.log != r.FlowLogID
	return could && !i.mayMerge()
}

func (i *seenInterface) learnAddrs(t flow.Tuple) {
	inner := isPrivate(t.Src) && isPrivate(t.Dst)
	if !i.inner && !i.outer {
		i.own = []ownAddr{{addr: t.Src}, {addr: t.Dst}}
	}
	i.inner, i.outer = i.inner || inner, i.outer || !inner
	n := 0
	for k := range i.own {
		o := &i.own[k]
		own, other := t.SrcPort, t.DstPort
		switch o.addr {
		case t.Src:
		case t.Dst:
			own, other = other, own
		default:
			continue
		}
		if inner {
			o.listens.add(own)
		} else {
			o.asks.add(other)
		}
		if n != k {
			i.own[n] = *o
		}
		n++
	}
	i.own = i.own[:n]
}
