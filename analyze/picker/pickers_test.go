package picker

import "math/rand/v2"

// A portPicker returns the port of the next connection.
type portPicker func() uint16

// busyPorts are the ports of the last connections, which are in use or wait.
type busyPorts struct {
	last [32]uint16
	n    int
}

func (b *busyPorts) add(port uint16) {
	b.last[b.n%len(b.last)] = port
	b.n++
}

func (b *busyPorts) has(port uint16) bool {
	for _, p := range b.last {
		if p == port {
			return true
		}
	}
	return false
}

// linuxConnect picks as Linux does for connect since 5.18, in
// __inet_hash_connect: a secret hash of addresses and destination port gives
// a start and one of 65,536 counters, which begin with random numbers. Ports
// of the parity of the range's low end are tried first, from the start plus
// the counter on. Then the counter moves on by what was passed over or by an
// even random number up to 14, whichever is more, and by 2.
type linuxConnect struct {
	r      *rand.Rand
	secret uint64
	table  map[uint16]uint32 // the counters that were looked at
	busy   busyPorts
}

func newLinuxConnect(r *rand.Rand) *linuxConnect {
	return &linuxConnect{r: r, secret: r.Uint64(), table: map[uint16]uint32{}}
}

func (l *linuxConnect) port(destination uint64) uint16 {
	low, remaining := uint32(linux.From), uint32(linux.Len())
	hash := mix(destination ^ l.secret)
	index := uint16(hash)
	if _, ok := l.table[index]; !ok {
		l.table[index] = l.r.Uint32()
	}
	offset := (l.table[index] + uint32(hash>>32)) % remaining &^ 1
	passed := uint32(0)
	port := uint16(low + offset)
	for ; l.busy.has(port); passed += 2 {
		offset = (offset + 2) % remaining
		port = uint16(low + offset)
	}
	l.table[index] += max(passed, l.r.Uint32N(8)*2) + 2
	l.busy.add(port)
	return port
}

// linuxControl is a client that opens control connections to a few servers,
// or to one.
func linuxControl(servers uint64) func(*rand.Rand) portPicker {
	return func(r *rand.Rand) portPicker {
		l := newLinuxConnect(r)
		return func() uint16 { return l.port(r.Uint64N(servers)) }
	}
}

// linuxSessions is a client that opens sessions with one server, each a
// control connection and up to four data connections to passive ports.
func linuxSessions(r *rand.Rand) portPicker {
	l, data := newLinuxConnect(r), 0
	return func() uint16 {
		if data == 0 {
			data = r.IntN(5)
			return l.port(21)
		}
		data--
		return l.port(50000 + r.Uint64N(1000))
	}
}

// linuxBind picks as Linux does for bind to port 0 in
// inet_csk_find_open_port: a random start, and ports of the other parity than
// connect prefers; for listeners with SO_REUSEADDR in the range's lower half.
func linuxBind(r rangeOf) func(*rand.Rand) portPicker {
	return func(rnd *rand.Rand) portPicker {
		var busy busyPorts
		return func() uint16 {
			offset := rnd.IntN(r.width()) | 1
			for busy.has(uint16(r.low + offset)) {
				offset = (offset + 2) % r.width()
			}
			busy.add(uint16(r.low + offset))
			return uint16(r.low + offset)
		}
	}
}

// A rangeOf is a range that a picker uses.
type rangeOf struct{ low, high int }

func (r rangeOf) width() int { return r.high - r.low + 1 }

// anywhere picks every port of the range alike.
func (r rangeOf) anywhere(rnd *rand.Rand) portPicker {
	return func() uint16 { return uint16(r.low + rnd.IntN(r.width())) }
}

// inSequence picks one port after the other. Between two connections up to
// others ports go to connections that the rule does not see.
func (r rangeOf) inSequence(others int) func(*rand.Rand) portPicker {
	return func(rnd *rand.Rand) portPicker {
		offset := rnd.IntN(r.width())
		return func() uint16 {
			offset = (offset + 1 + rnd.IntN(others+1)) % r.width()
			return uint16(r.low + offset)
		}
	}
}
