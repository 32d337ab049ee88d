package alert

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"ephemera/analyze"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// certainFTP is how probable it must be that a connection is FTP data before
// somebody is called because of it.
const certainFTP = 0.9

// Purposes of packets, as the report names them.
const (
	control = "control"
	data    = "data"
	reply   = "reply"
)

// A finder collects the causes of one report.
type finder struct {
	result *analyze.Result
	slots  map[slotKey][]slot
	causes map[cause]*evidence
	beyond int // flows of causes beyond maxCauses
}

// A slotKey is a filter and what passes it for one purpose.
type slotKey struct {
	filter    string
	direction flow.Direction
	purpose   string
}

// A slot is the demand of one peer at a filter whose rules leave it a
// narrowed range.
type slot struct {
	peer    netip.Prefix
	allowed rules.PortSet
	row     *analyze.PortDemand
}

func newFinder(r *analyze.Result) *finder {
	f := &finder{result: r, slots: map[slotKey][]slot{}, causes: map[cause]*evidence{}}
	for i := range r.Ports {
		row := &r.Ports[i]
		if s, ok := narrowed(row); ok {
			k := slotKey{row.FilterID, row.Direction, row.Purpose}
			f.slots[k] = append(f.slots[k], s)
		}
	}
	return f
}

// ephemeral are the ports that may be picked.
var ephemeral = rules.Ports(rules.PortRange{From: 1024, To: 65535})

// isNarrowed reports whether a rule allows some of the ports that may be
// picked, and at least a quarter of them not.
func isNarrowed(allowed rules.PortSet) bool {
	n := allowed.Intersect(ephemeral).Len()
	return n > 0 && 4*n <= 3*ephemeral.Len()
}

// narrowed returns the row as a slot, if FTP meets a narrowed range there
// with ports that a server or a client picks.
func narrowed(row *analyze.PortDemand) (slot, bool) {
	if row.Protocol != "tcp" || row.Purpose != data && row.Purpose != reply || row.UnusedNow < 0 ||
		row.PortChosenBy != analyze.ChosenServer && row.PortChosenBy != analyze.ChosenClient {
		return slot{}, false
	}
	peer, err := netip.ParsePrefix(row.Peer)
	if err != nil {
		return slot{}, false
	}
	allowed, err := rules.ParsePorts(strings.Join(row.AllowedNow, ";"))
	if err != nil || !isNarrowed(allowed) {
		return slot{}, false
	}
	return slot{peer, allowed, row}, true
}

// of returns what is known of a cause, to be added to; nil when there are too
// many causes.
func (f *finder) of(c cause) *evidence {
	e := f.causes[c]
	if e == nil {
		if len(f.causes) == maxCauses {
			f.beyond++
			return nil
		}
		e = &evidence{}
		f.causes[c] = e
	}
	return e
}

// throughNAT reports whether the connection was opened by a server, and ended
// at a NAT gateway, which forwards nothing that answers nothing.
func throughNAT(d *analyze.DataConnection) bool {
	return d.Mode == "active" && d.DiedAt == analyze.P4.String()
}

// findActive finds data connections in active mode that met a NAT gateway.
// Their row has the gateway's address in the place of the client's, which
// only a session could tell.
func (f *finder) findActive() {
	sessions := map[string]*evidence{}
	for d := range f.result.Data.All() {
		if !throughNAT(&d) {
			continue
		}
		e := f.of(cause{kind: ActiveMode, filter: d.ClientAddr.String(), peer: d.ServerAddr.String()})
		if e == nil {
			continue
		}
		e.count(d.Start, d.End, 0, d.FTPProbability >= certainFTP)
		e.ports.Add(d.ClientPort)
		e.servers.add(d.ServerAddr)
		for _, id := range d.Candidates {
			if e.sessions.add(id) {
				sessions[id] = e
			}
		}
	}
	if len(sessions) == 0 {
		return
	}
	for s := range f.result.Sessions.All() {
		if e := sessions[s.ID]; e != nil {
			e.clients.add(s.ClientAddr)
		}
	}
}

// findSilent finds sessions that a NAT gateway forgot.
func (f *finder) findSilent() {
	for s := range f.result.Sessions.All() {
		if s.Outcome != analyze.OutcomeIdleTimeout {
			continue
		}
		e := f.of(cause{kind: SilentControl, filter: flow.HostPort(s.ServerAddr, s.ServerPort), peer: network(s.ClientAddr).String()})
		if e == nil {
			continue
		}
		e.count(s.Start, s.End, 0, true)
		e.clients.add(s.ClientAddr)
		e.servers.add(s.ServerAddr)
		e.sessions.add(s.ID)
		e.interfaces.add(s.NATInterface)
		e.reason = cmp.Or(e.reason, s.Cause)
	}
}

// network is what stands for the subnet of a host.
func network(a flow.Addr) netip.Prefix {
	if a.Is4() {
		return a.Prefix(24)
	}
	return a.Prefix(64)
}

// findRejects finds what stopped FTP.
func (f *finder) findRejects() {
	j := newJoin(f.result)
	defer j.stop()
	for x := range f.result.Rejects.All() {
		if x.Cause == analyze.CauseLate || x.Protocol != uint8(flow.TCP) {
			continue
		}
		if c, fromClient := j.find(&x); c != nil && !c.throughNAT {
			f.reject(&x, c, fromClient)
		}
	}
}

// reject counts one rejected flow of an FTP connection.
func (f *finder) reject(x *analyze.RejectedFlow, c *connection, fromClient bool) {
	purpose := c.purpose
	if fromClient == c.active {
		purpose = reply
	}
	key := rejectCause(x, purpose)
	s := f.slotOf(x, purpose)
	if s != nil && !s.allowed.Contains(x.DstPort) && isUnlisted(x) {
		key = s.cause()
	}
	e := f.of(key)
	if e == nil {
		return
	}
	e.count(x.Start, x.End, x.Packets, c.certain)
	e.addReject(x, c)
	if s != nil {
		e.slot = cmp.Or(e.slot, s.row)
	}
}

// rejectCause is the entry or the group that rejected the flow.
func rejectCause(x *analyze.RejectedFlow, purpose string) cause {
	c := cause{filter: filterOf(x), direction: x.Direction, purpose: purpose}
	switch x.Cause {
	case analyze.CauseNACL:
		c.kind, c.rule = NACLReject, x.RuleNumber
	case analyze.CauseSG:
		c.kind = SGReject
	default:
		c.kind, c.other = OtherReject, x.Cause
	}
	return c
}

// filterOf names the filter, or the place where one stopped the flow.
func filterOf(x *analyze.RejectedFlow) string {
	return cmp.Or(x.CauseID, x.SubnetID, x.InterfaceID)
}

// isUnlisted reports whether the flow was stopped because nothing allows it,
// and not by an entry that denies it.
func isUnlisted(x *analyze.RejectedFlow) bool {
	return x.Cause == analyze.CauseNACL && x.RuleDefault || x.Cause == analyze.CauseSG
}

// slotOf returns the narrowed slot that a rejected flow met, or nil.
func (f *finder) slotOf(x *analyze.RejectedFlow, purpose string) *slot {
	src, dst := header(x)
	peer := src
	if x.Direction == flow.Egress {
		peer = dst
	}
	slots := f.slots[slotKey{x.CauseID, x.Direction, purpose}]
	i := slices.IndexFunc(slots, func(s slot) bool { return s.peer.Contains(peer.Netip()) })
	if i < 0 {
		return nil
	}
	return &slots[i]
}

// cause is that of ports outside the slot's range.
func (s *slot) cause() cause {
	return cause{
		kind: PortOutsideRange, filter: s.row.FilterID, direction: s.row.Direction, purpose: s.row.Purpose,
		peer: s.row.Peer, allowed: strings.Join(s.row.AllowedNow, ","),
	}
}

// findUsedOutside finds ports that were used, and that the newest rules would
// stop. Of the ranges that cover what was used only the ends are surely used
// ports.
func (f *finder) findUsedOutside() {
	for _, slots := range f.slots {
		for _, s := range slots {
			used, err := rules.ParsePorts(strings.Join(s.row.Ranges, ";"))
			if err != nil {
				continue
			}
			for _, r := range used.Ranges() {
				f.usedOutside(&s, r.From)
				f.usedOutside(&s, r.To)
			}
		}
	}
}

func (f *finder) usedOutside(s *slot, port uint16) {
	if s.allowed.Contains(port) {
		return
	}
	e := f.of(s.cause())
	if e == nil {
		return
	}
	e.certain, e.slot = true, s.row
	e.used.Add(port)
}
