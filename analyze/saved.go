package analyze

import (
	"encoding/binary"
	"encoding/gob"
	"errors"
	"io"

	"ephemera/ingest/flow"
)

// savedConnection is a Connection as it is written to a file.
type savedConnection struct {
	Tuple                           flow.Tuple
	Client, Inside, Outside, Server *savedLeg
	Unsolicited                     bool
	Mapping                         float64
	Others                          []savedLeg
	Start, End                      int64
}

// savedLeg is a Leg without what its windows tell.
type savedLeg struct {
	Interface     string
	Header, Seen  flow.Tuple
	HasHeader     bool
	Initiator     InitiatorEvidence
	FromInitiator flow.Direction // what the interface's addresses said at the time
	Windows       []byte
}

// connectionCodec writes connections. It reads them back at the interfaces
// given.
func connectionCodec(ifaces map[string]*Interface) codec[*Connection] {
	return codec[*Connection]{
		writer: func(w io.Writer) func(*Connection) error {
			e := gob.NewEncoder(w)
			return func(c *Connection) error { return e.Encode(saveConnection(c)) }
		},
		reader: func(r io.Reader) func() (*Connection, error) {
			d := gob.NewDecoder(r)
			return func() (*Connection, error) {
				var s savedConnection
				if err := d.Decode(&s); err != nil {
					return nil, err
				}
				return s.connection(ifaces)
			}
		},
	}
}

func saveConnection(c *Connection) *savedConnection {
	s := &savedConnection{
		Tuple: c.Tuple, Client: saveLeg(c.Client), Inside: saveLeg(c.Inside), Outside: saveLeg(c.Outside), Server: saveLeg(c.Server),
		Unsolicited: c.Unsolicited, Mapping: c.Mapping, Start: c.Start, End: c.End,
	}
	for _, l := range c.Others {
		s.Others = append(s.Others, *saveLeg(l))
	}
	return s
}

func saveLeg(l *Leg) *savedLeg {
	if l == nil {
		return nil
	}
	s := &savedLeg{
		Interface: l.Interface.ID, Header: l.Header, Seen: l.Seen, HasHeader: l.HasHeader,
		Initiator: l.Initiator, FromInitiator: l.FromInitiator.Direction,
	}
	for _, w := range l.windows {
		s.Windows = w.append(s.Windows)
	}
	return s
}

func (s *savedConnection) connection(ifaces map[string]*Interface) (*Connection, error) {
	c := &Connection{Tuple: s.Tuple, Unsolicited: s.Unsolicited, Mapping: s.Mapping, Start: s.Start, End: s.End}
	var errs [4]error
	c.Client, errs[0] = s.Client.leg(ifaces)
	c.Inside, errs[1] = s.Inside.leg(ifaces)
	c.Outside, errs[2] = s.Outside.leg(ifaces)
	c.Server, errs[3] = s.Server.leg(ifaces)
	for i := range s.Others {
		l, err := s.Others[i].leg(ifaces)
		if err != nil {
			return nil, err
		}
		c.Others = append(c.Others, l)
	}
	return c, errors.Join(errs[:]...)
}

// errSaved is for a file that somebody else has written to.
var errSaved = errors.New("the temporary file of connections is damaged")

func (s *savedLeg) leg(ifaces map[string]*Interface) (*Leg, error) {
	if s == nil {
		return nil, nil
	}
	l := &Leg{Interface: ifaces[s.Interface], Header: s.Header, Seen: s.Seen, HasHeader: s.HasHeader, Initiator: s.Initiator}
	if l.Interface == nil || len(s.Windows) == 0 || len(s.Windows)%windowSize != 0 {
		return nil, errSaved
	}
	for b := s.Windows; len(b) > 0; b = b[windowSize:] {
		l.windows = append(l.windows, readWindow(b))
	}
	l.sum()
	l.FromInitiator.Direction, l.FromResponder.Direction = s.FromInitiator, s.FromInitiator.Reverse()
	return l, nil
}

// windowSize is the length of a window that append wrote, in bytes.
const windowSize = 4*8 + 2*4 + 4

func (w window) append(b []byte) []byte {
	o := binary.LittleEndian
	b = o.AppendUint64(b, uint64(w.start))
	b = o.AppendUint64(b, uint64(w.end))
	b = o.AppendUint64(b, w.packets)
	b = o.AppendUint64(b, w.bytes)
	b = o.AppendUint32(b, w.log)
	b = o.AppendUint32(b, uint32(w.header))
	var marks byte
	if w.forward {
		marks |= 1
	}
	if w.hasFlags {
		marks |= 2
	}
	return append(b, marks, byte(w.flags), byte(w.action), byte(w.reason))
}

func readWindow(b []byte) window {
	o := binary.LittleEndian
	return window{
		start: int64(o.Uint64(b)), end: int64(o.Uint64(b[8:])), packets: o.Uint64(b[16:]), bytes: o.Uint64(b[24:]),
		log: o.Uint32(b[32:]), header: int32(o.Uint32(b[36:])), forward: b[40]&1 != 0, hasFlags: b[40]&2 != 0,
		flags: flow.TCPFlags(b[41]), action: flow.Action(b[42]), reason: rejectReason(b[43]),
	}
}
