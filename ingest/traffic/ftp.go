package traffic

import (
	"math/rand/v2"

	"ephemera/ingest/flow"
)

// ftpServer is an FTP server in the internet.
type ftpServer struct {
	addr    uint32
	control uint16
	lo, hi  uint16 // passive range
}

// The entry that stops data connections in the NAT gateways' subnets denies
// these ports. They are a part of one server's passive range.
const blockedLow, blockedHigh = 50000, 50009

// newServers returns servers with passive ranges as they are met: the
// default of vsftpd, of FileZilla and of the Linux kernel, and configured
// ones.
func newServers(rnd *rand.Rand) []*ftpServer {
	servers := []*ftpServer{
		{control: 21, lo: 50000, hi: 50200}, {control: 21, lo: 1024, hi: 65535}, {control: 21, lo: 40000, hi: 40100},
		{control: 990, lo: 49152, hi: 65534}, {control: 21, lo: 32768, hi: 60999}, {control: 21, lo: 8192, hi: 8200},
	}
	for k := range servers {
		servers[k].addr = 203<<24 | 113<<8 | uint32(10+k)
	}
	rnd.Shuffle(len(servers), func(a, b int) { servers[a], servers[b] = servers[b], servers[a] })
	return servers
}

// Payload sizes of a control connection, in bytes, of the commands and their
// replies.
const (
	loginForth, loginBack       = 62, 240
	transferForth, transferBack = 40, 130
	doneBack                    = 24
	quitForth, quitBack         = 6, 14
)

// session is an FTP session in passive mode: its control connection, then
// its data connections.
func (w *world) session(at int64) []*conn {
	client, server := w.drawn(batch), among(w.rnd, w.peers.server, w.peers.servers)
	control := w.newTCP()
	control.ftp, control.close[forth] = true, flow.FIN
	w.translated(control, client, server.addr, server.control)
	all := []*conn{control}

	overhead := int64(0) // of TLS
	if server.control == 990 {
		overhead = 29
	}
	say := func(life, packets, forthBytes, backBytes int64) {
		n := [2]int64{packets, packets}
		control.bursts = append(control.bursts, burst{from: at, to: at + life, packets: n,
			bytes: [2]int64{packets*(52+overhead) + forthBytes, packets*(52+overhead) + backBytes}})
		at += life
	}
	say(80+w.rnd.Int64N(900), 9+overhead/10, loginForth, loginBack)
	for range 1 + w.rnd.IntN(20) {
		at += w.spreads.thought.draw(w.rnd)
		say(30+w.rnd.Int64N(100), 4, transferForth, transferBack)
		d := w.transfer(at, client, server)
		all = append(all, d)
		at = d.end() + 5
		say(5, 1, 0, doneBack)
		if d.points[len(d.points)-1].reject && chance(w.rnd, 70) {
			break
		}
	}
	at += w.spreads.thought.draw(w.rnd)
	say(40, 3, quitForth, quitBack)
	return all
}

// transfer is a data connection. One to a port that is denied is tried for
// half a minute.
func (w *world) transfer(at int64, client int, server *ftpServer) *conn {
	c := w.newTCP()
	c.ftp, c.close[forth] = true, flow.FIN
	port := w.claim(c, server.addr, 0, 0, server.lo, server.hi)
	w.translated(c, client, server.addr, port)
	if port >= blockedLow && port <= blockedHigh {
		c.points = c.points[:2]
		c.points[1].reject = true
		c.all, c.close = flow.SYN, [2]flow.TCPFlags{}
		c.bursts = attempts(at, 5)
		return c
	}
	size := w.spreads.file.draw(w.rnd)
	many := 4 + (size+1447)/1448
	few := 4 + many/2
	b := burst{from: at, to: at + w.spreads.transferTime.draw(w.rnd) + size/20_000}
	from, to := back, forth
	if chance(w.rnd, 25) { // an upload
		from, to = forth, back
	}
	b.packets[from], b.bytes[from] = many, size+52*many
	b.packets[to], b.bytes[to] = few, 52*few
	c.bursts = []burst{b}
	return c
}
