package analyze

import (
	"ephemera/ingest/flow"
)

// code passes the fields of a session to a coder.
func (s *Session) code(c *coder) {
	t := s.tuple()
	c.time(&s.Start)
	c.tuple(&t)
	c.time(&s.End)
	c.endKey()
	s.ClientAddr, s.ServerAddr, s.ClientPort, s.ServerPort = t.Src, t.Dst, t.SrcPort, t.DstPort
	c.text(&s.ID)
	c.name(&s.ClientInterface)
	c.addr(&s.NATAddr)
	c.port(&s.NATPort)
	c.name(&s.NATInterface)
	c.name(&s.Mode)
	c.name(&s.TLS)
	c.count(&s.DataConnections)
	c.count(&s.DataLow)
	c.count(&s.DataHigh)
	c.uint(&s.BytesToServer)
	c.uint(&s.BytesToClient)
	c.name((*string)(&s.Outcome))
	c.name(&s.DiedAt)
	c.name(&s.Cause)
	c.float(&s.Confidence)
}

// code passes the fields of a data connection to a coder.
func (d *DataConnection) code(c *coder) {
	t := d.tuple()
	c.time(&d.Start)
	c.tuple(&t)
	c.time(&d.End)
	c.endKey()
	c.name(&d.Mode) // which tells the client's side of the tuple
	d.setTuple(t)
	c.text(&d.ID)
	c.name(&d.SessionID)
	items(c, &d.Candidates, c.name)
	items(c, &d.Probabilities, c.float)
	c.float(&d.Confidence)
	c.float(&d.FTPProbability)
	c.uint(&d.PacketsToServer)
	c.uint(&d.PacketsToClient)
	c.uint(&d.BytesToServer)
	c.uint(&d.BytesToClient)
	c.addr(&d.NATAddr)
	c.port(&d.NATPort)
	c.name((*string)(&d.Outcome))
	c.name(&d.DiedAt)
	c.name(&d.Cause)
}

// setTuple sets what tuple returns.
func (d *DataConnection) setTuple(t flow.Tuple) {
	d.ClientAddr, d.ServerAddr, d.ClientPort, d.ServerPort = t.Src, t.Dst, t.SrcPort, t.DstPort
	t = d.tuple() // of the client, or turned
	d.ClientAddr, d.ServerAddr, d.ClientPort, d.ServerPort = t.Src, t.Dst, t.SrcPort, t.DstPort
}

// code passes the fields of a mapping to a coder.
func (m *Mapping) code(c *coder) {
	c.time(&m.Start)
	c.addr(&m.ClientAddr)
	c.port(&m.ClientPort)
	c.addr(&m.ServerAddr)
	c.port(&m.ServerPort)
	c.byte(&m.Protocol)
	c.port(&m.NATPort)
	c.endKey()
	c.since(&m.End, m.Start)
	c.name(&m.ClientInterface)
	c.name(&m.NATInterface)
	c.addr(&m.NATAddr)
	c.float(&m.Confidence)
	items(c, &m.Candidates, c.text)
}

// code passes the fields of a rejected flow to a coder.
func (f *RejectedFlow) code(c *coder) {
	c.time(&f.Start)
	c.orderedName(&f.InterfaceID)
	c.addr(&f.SrcAddr)
	c.port(&f.SrcPort)
	c.addr(&f.DstAddr)
	c.port(&f.DstPort)
	c.byte(&f.Protocol)
	c.endKey()
	c.since(&f.End, f.Start)
	c.name(&f.SubnetID)
	enum(c, &f.Direction, flow.Egress)
	enum(c, &f.Point, P6)
	c.addr(&f.PktSrcAddr)
	c.addr(&f.PktDstAddr)
	c.uint(&f.Packets)
	c.uint(&f.Bytes)
	c.count(&f.Records)
	c.name((*string)(&f.Cause))
	c.name(&f.CauseID)
	c.count(&f.RuleNumber)
	c.bool(&f.RuleDefault)
	items(c, &f.AlsoDeniedBy, c.name)
	c.text(&f.SessionID)
	c.float(&f.Confidence)
	c.name(&f.Evidence)
}

// code passes the fields of a connection whose fate changes to a coder.
func (f *ChangedFlow) code(c *coder) {
	c.time(&f.Start)
	c.addr(&f.ClientAddr)
	c.port(&f.ClientPort)
	c.addr(&f.ServerAddr)
	c.port(&f.ServerPort)
	c.endKey()
	c.name(&f.Protocol)
	c.name(&f.FTP)
	c.text(&f.SessionID)
	c.name(&f.Before)
	c.name(&f.After)
	enum(c, &f.Point, P6)
	c.name(&f.Rule)
	c.bool(&f.Unwanted)
}

// connectionCodec passes what later stages need of connections to a coder:
// not which legs belong to which with what confidence, beyond Mapping, and of
// legs not what their windows tell. They are read back at the interfaces
// given.
func connectionCodec(ifaces map[string]*Interface) codec[*Connection] {
	return func(c *coder, v **Connection) {
		if c.reading {
			*v = &Connection{}
		}
		x := *v
		c.unix(&x.Start)
		c.tuple(&x.Tuple)
		c.unix(&x.End)
		c.endKey()
		c.bool(&x.Unsolicited)
		c.float(&x.Mapping)
		for _, l := range []**Leg{&x.Client, &x.Inside, &x.Outside, &x.Server} {
			known := *l != nil
			if c.bool(&known); known {
				codeLeg(c, l, ifaces)
			}
		}
		items(c, &x.Others, func(l **Leg) { codeLeg(c, l, ifaces) })
		if c.reading && c.err == nil && len(x.legs()) == 0 {
			c.fail()
		}
	}
}

// codeLeg passes a leg.
func codeLeg(c *coder, v **Leg, ifaces map[string]*Interface) {
	if c.reading {
		*v = &Leg{Interface: &Interface{}}
	}
	l := *v
	id := l.Interface.ID
	c.name(&id)
	c.tuple(&l.Header)
	c.tuple(&l.Seen)
	c.bool(&l.HasHeader)
	enum(c, &l.Initiator, ByNothing)
	direction := l.FromInitiator.Direction // what the interface's addresses said at the time
	enum(c, &direction, flow.Egress)
	last := window{}
	items(c, &l.windows, func(w *window) {
		w.code(c, last)
		last = *w
	})
	if !c.reading {
		return
	}
	if l.Interface = ifaces[id]; l.Interface == nil || len(l.windows) == 0 || c.err != nil {
		c.fail()
		return
	}
	l.sum()
	l.FromInitiator.Direction, l.FromResponder.Direction = direction, direction.Reverse()
}

// code passes a window that comes behind another.
func (w *window) code(c *coder, last window) {
	start, length, log := w.start-last.start, w.end-w.start, uint64(w.log^last.log)
	header := int64(w.header)
	c.int(&start)
	c.int(&length)
	c.uint(&w.packets)
	c.uint(&w.bytes)
	c.uint(&log)
	c.int(&header)
	c.bool(&w.forward)
	c.bool(&w.hasFlags)
	c.byte((*uint8)(&w.flags))
	enum(c, &w.action, flow.Reject)
	enum(c, &w.reason, reasonEC)
	w.start, w.log, w.header = last.start+start, last.log^uint32(log), int32(header)
	w.end = w.start + length
}
