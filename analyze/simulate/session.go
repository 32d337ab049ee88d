package simulate

import (
	"time"

	"ephemera/ingest/flow"
)

// A habit is what the sessions of one client at one server have in common:
// mostly it is one program with one account.
type habit struct {
	software *software
	tls      bool
	active   bool
	filling  filling
	uploads  float64 // share of transfers
	lists    float64
	size     float64 // median of files
	sigma    float64
}

// habit returns what a client does at a server, at one of its programs.
func (w *world) habit(c *client, s *server) *habit {
	key := [2]int{c.index*2 + w.rnd.IntN(len(c.software)), s.index}
	h := w.habits[key]
	if h == nil {
		h = &habit{
			software: c.software[key[0]%2], tls: w.chance(w.TLS), active: w.chance(w.Active),
			filling: filling{user: w.between(3, 14), pass: w.between(8, 24), dir: w.between(1, 40), file: w.between(6, 45)},
			uploads: pick(w, []float64{0, 0, 0.1, 0.5, 1}), lists: pick(w, []float64{0, 0.1, 0.3, 0.8}),
			size: w.spread(w.Size, 1), sigma: 0.3 + 1.7*w.rnd.Float64(),
		}
		h.active = h.active || h.software == &ftpExe && w.Active > 0
		w.habits[key] = h
	}
	return h
}

// A stage is what a session does when it goes on.
type stage uint8

const (
	opening stage = iota
	asking        // for a data connection
	transferring
)

// A session is an FTP session on its way.
type session struct {
	w      *world
	client *client
	server *server
	habit  *habit
	stage  stage
	conn   *conn
	truth  int // index in Traffic.Sessions
	left   int // transfers
	first  bool
	guess  bool // it tries a password
	pause  int  // the transfer before which it is idle for long; -1 if it is not
	failed int  // data connections
	noEPSV bool // it has found out that EPSV does not work
	port   uint16
	fill   filling
	record int // bytes that TLS adds to a message
}

func (s *session) act(at time.Duration) time.Duration {
	switch s.stage {
	case opening:
		return s.open(at)
	case asking:
		return s.ask(at)
	}
	return s.transfer(at)
}

func (s *session) life() *Session { return &s.w.traffic.Sessions[s.truth] }

// serverAddr is the server's address in the client's family.
func (s *session) serverAddr() flow.Addr {
	if s.client.v6 {
		return s.server.v6
	}
	return s.server.addr
}

// open opens the control connection and logs in.
func (s *session) open(at time.Duration) time.Duration {
	w := s.w
	to := place{s.serverAddr(), 21}
	implicit := s.habit.tls && s.server.implicit
	if implicit {
		to.port = 990
	}
	k, at := w.dial(at, s.client, to, s.server.path, false, time.Minute)
	s.conn, s.truth, s.first = k, len(w.traffic.Sessions), true
	w.traffic.Sessions = append(w.traffic.Sessions, Session{TLS: s.habit.tls, Outcome: OK})
	w.log.wires[k.wire].session = int32(s.truth) + 1
	if k.blocked {
		s.life().Outcome = Blocked
		return never
	}
	s.fill = s.habit.filling
	if implicit {
		at = s.tls(k, at, false)
		s.record = s.overhead()
	}
	at = s.answer(at+k.rtt+w.about(s.server.daemon.loginTakes/4, 1), s.server.daemon.replies[banner])
	if s.habit.tls && !implicit {
		at = s.tls(k, s.say(at, auth), false)
		s.record = s.overhead()
	}
	if s.guess {
		return s.deny(at)
	}
	for _, v := range s.habit.software.login {
		at = s.say(at, v)
		if v == pass {
			at += w.about(s.server.daemon.loginTakes, 0.7)
		}
	}
	if s.habit.tls {
		at = s.sayAll(at, s.habit.software.secure)
	}
	return s.goOn(at)
}

// deny has the login fail.
func (s *session) deny(at time.Duration) time.Duration {
	s.life().Outcome = LoginFailed
	at = s.say(at, user)
	s.conn.send(up, at, words[pass].length(s.fill)+s.record)
	at = s.answer(at+s.conn.rtt+s.w.about(s.server.daemon.loginTakes*20, 0.2), s.server.daemon.failed)
	return s.leave(at)
}

// say sends a command and returns when the client has its reply.
func (s *session) say(at time.Duration, v verb) time.Duration {
	s.conn.send(up, at, words[v].length(s.fill)+s.record)
	return s.answer(at+s.conn.rtt+s.w.about(400*time.Microsecond, 1), s.server.daemon.replies[v])
}

// sayAll sends several commands: one after the other, or all at once.
func (s *session) sayAll(at time.Duration, vs []verb) time.Duration {
	if !s.habit.software.batches || len(vs) == 0 {
		for _, v := range vs {
			at = s.say(at, v)
		}
		return at
	}
	n := s.record
	for _, v := range vs {
		n += words[v].length(s.fill)
	}
	s.conn.send(up, at, n)
	at += s.conn.rtt
	for _, v := range vs {
		at = s.answer(at+s.w.about(200*time.Microsecond, 1), s.server.daemon.replies[v])
	}
	return at
}

// answer sends a reply, and returns when the client has understood it.
func (s *session) answer(at time.Duration, t text) time.Duration {
	n := t.length(s.fill)
	if s.server.daemon.separate && t.lines > 2 {
		first := n / t.lines
		s.conn.send(down, at, first+s.record)
		n -= first
	}
	s.conn.send(down, at, n+s.record)
	return at + s.w.about(300*time.Microsecond, 0.8)
}

// overhead is what TLS adds to a record: header, tag, and explicit nonce or
// content type.
func (s *session) overhead() int {
	if s.server.tls13 {
		return 22
	}
	return 29
}

// tls negotiates TLS and returns when the client can send.
func (s *session) tls(k *conn, at time.Duration, resumed bool) time.Duration {
	w, took := s.w, s.w.about(time.Millisecond, 0.5)
	hello, flight := w.between(220, 330), s.server.chain+420
	if s.server.tls13 {
		hello = 517
	}
	if resumed {
		hello, flight = hello+w.between(180, 260), 200
	}
	k.send(up, at, hello)
	at += k.rtt + took
	k.send(down, at, flight)
	at += w.about(time.Millisecond, 0.5)
	switch {
	case s.server.tls13:
		k.send(up, at, 80)
		k.send(down, at+k.rtt, 2*255)
	case resumed:
		k.send(up, at, 51)
	default:
		k.send(up, at, 126)
		at += k.rtt + took
		k.send(down, at, 51+w.between(0, 1)*190)
	}
	return at
}

// goOn prepares the next transfer or leaves, and returns when the session
// acts again.
func (s *session) goOn(at time.Duration) time.Duration {
	w := s.w
	until := at
	if !s.first {
		until += w.about(w.Think, 1)
	}
	if s.left == s.pause {
		until += w.about(500*time.Second, 0.6)
	}
	s.first = false
	at, open := s.rest(at, until)
	switch {
	case !open:
		return never
	case s.left == 0 || s.failed > 2 || s.failed > 0 && !s.habit.software.stubborn:
		return s.leave(at)
	}
	s.left--
	s.fill.file = s.habit.filling.file + w.between(-3, 3)
	at = s.sayAll(at, s.habit.software.before)
	s.stage = asking
	return at
}

// rest lets the session be silent until a time, but for what keeps it alive.
// It returns when it goes on, or that it came to its end.
func (s *session) rest(at, until time.Duration) (time.Duration, bool) {
	d := s.server.daemon
	for {
		step := s.habit.software.noops
		if step == 0 || at+step >= until {
			break
		}
		at = s.say(at+step, noop)
	}
	if at+d.idle < until {
		if !s.keepAlive(at + d.idle) {
			s.speechless(at + d.idle)
			return never, false
		}
		s.answer(at+d.idle, d.timeout)
		s.conn.fin(down, at+d.idle, s.w.about(time.Millisecond, 1))
		return never, false
	}
	if !s.keepAlive(until) {
		s.lost(until, s.fill.file+10)
		return never, false
	}
	return max(at, until), true
}

// keepAlive sends what TCP sends in silence until a time; it returns false
// when the NAT gateway has forgotten the connection by then.
func (s *session) keepAlive(until time.Duration) bool {
	k := s.conn
	if step := s.habit.software.probes; step > 0 {
		for at := k.last + step; at < until; at += step {
			k.settle(at)
			k.packet(up, at, k.header, 0)
			k.packet(down, at+k.rtt, k.header, 0)
		}
		return true
	}
	if !k.nat || until-k.last <= natKeeps {
		return true
	}
	k.settle(until)
	k.forget()
	return false
}

// lost ends a session that the NAT gateway has forgotten: the client speaks,
// and is refused.
func (s *session) lost(at time.Duration, bytes int) {
	s.life().Outcome = IdleTimeout
	s.conn.refuse(at, bytes+s.record)
	s.conn.close(at)
}

// speechless ends a session that the NAT gateway has forgotten: the server
// speaks, again and again, until the client has no more patience.
func (s *session) speechless(at time.Duration) {
	wait := 300 * time.Millisecond
	for t := at; t < at+30*time.Second; t += wait {
		s.conn.packet(down, t, s.conn.header+24+s.record, 0)
		wait *= 2
	}
	s.lost(at+max(40*time.Second, s.habit.software.patience), words[quit].fixed)
}

// leave ends the session.
func (s *session) leave(at time.Duration) time.Duration {
	k := s.conn
	switch s.habit.software.leaves {
	case politely:
		at = s.say(at, quit)
		k.fin(down, max(at, k.last), s.w.about(500*time.Microsecond, 1))
	case hastily:
		k.send(up, at, words[quit].fixed+s.record)
		k.packet(up, at, k.header, flow.FIN)
		k.send(down, at+k.rtt, s.server.daemon.replies[quit].length(s.fill)+s.record)
		k.ends[up].owes = 0
		k.reset(up, at+k.rtt)
	case silently:
		if s.record > 0 {
			k.send(up, at, 2+s.record)
		}
		k.fin(up, at, s.w.about(500*time.Microsecond, 1))
	}
	return never
}

// ask asks for a data connection.
func (s *session) ask(at time.Duration) time.Duration {
	if s.habit.active {
		return s.goOn(s.actively(at))
	}
	s.port = s.server.passive.port(s.w, at, s.client.addr, 0)
	s.server.passive.keep(s.port, never)
	v := pasv
	s.fill.place = len(s.server.addr.String()) + 2 + digits(int64(s.port>>8)) + digits(int64(s.port&255))
	if s.client.v6 || s.habit.software.epsv && !s.noEPSV {
		v, s.fill.place = epsv, digits(int64(s.port))
	}
	s.stage = transferring
	return s.say(at, v)
}

// An order is what is transferred.
type order struct {
	verb   verb
	upload bool
	bytes  int64
}

// order draws the next transfer.
func (s *session) order() order {
	w, h := s.w, s.habit
	if s.life().Data == 0 && h.software.browses || w.chance(h.lists) {
		return order{verb: h.software.lists, bytes: int64(w.spread(12, 1.2)) * int64(w.between(20, 90))}
	}
	n := int64(min(w.spread(h.size, h.sigma), 2<<30))
	if w.chance(0.02) {
		n = 0
	}
	if w.chance(h.uploads) {
		return order{stor, true, n}
	}
	return order{retr, false, n}
}

// transfer opens the data connection and does what it is for.
func (s *session) transfer(at time.Duration) time.Duration {
	w, sw := s.w, s.habit.software
	o := s.order()
	k, ready := w.dial(at, s.client, place{s.serverAddr(), s.port}, s.server.path, s.server.denies(s.port), sw.patience)
	d := s.newData(k.wire)
	d.TLS, d.Upload = s.habit.tls, o.upload
	s.stage = asking
	if k.blocked {
		d.Outcome = Blocked
		s.server.passive.keep(s.port, ready)
		return s.goOn(s.despair(at, ready, o))
	}
	d.Bytes = o.bytes
	s.fill.bytes = o.bytes
	asked := ready
	if sw.early {
		asked = at + w.about(200*time.Microsecond, 0.5)
	} else {
		asked = s.sayAll(asked, sw.after)
	}
	s.conn.send(up, asked, words[o.verb].length(s.fill)+s.record)
	begun := s.answer(max(asked+s.conn.rtt, ready)+w.about(time.Millisecond, 1), s.opens(o))
	done := s.move(k, begun, o)
	s.server.passive.keep(s.port, done)
	return s.complete(done, o)
}

// newData writes down a data connection of the session.
func (s *session) newData(wire int32) *DataConnection {
	t := s.w.traffic
	s.life().Data++
	s.w.log.wires[wire].data = int32(len(t.Data)) + 1
	t.Data = append(t.Data, DataConnection{Session: s.truth, Outcome: OK})
	return &t.Data[len(t.Data)-1]
}

// opens is the reply when a transfer begins.
func (s *session) opens(o order) text {
	switch {
	case o.verb >= list:
		return s.server.daemon.list
	case o.upload:
		return s.server.daemon.store
	}
	return s.server.daemon.open
}

// move moves the bytes on the data connection, closes it, and returns when
// the server is done with it.
func (s *session) move(k *conn, at time.Duration, o order) time.Duration {
	w, way := s.w, down
	if o.upload {
		way = up
	}
	bytes := o.bytes
	if s.habit.tls {
		at = s.tls(k, at, s.server.resumes)
		bytes += (o.bytes/16384 + 1) * int64(s.overhead())
	}
	at = k.bulk(way, at, bytes, min(w.spread(s.server.rate, 0.4), 100e6))
	if s.habit.tls {
		k.send(way, at, s.overhead()+2)
	}
	closed := k.fin(way, at, w.about(500*time.Microsecond, 1))
	if way == up {
		return closed
	}
	return at
}

// complete has the server say that the transfer is complete.
func (s *session) complete(at time.Duration, o order) time.Duration {
	at += s.w.about(500*time.Microsecond, 1)
	if !s.keepAlive(at) {
		s.speechless(at)
		return never
	}
	t := s.server.daemon.replies[retr]
	switch {
	case o.verb >= list:
		t = s.server.daemon.listed
	case o.upload:
		t = s.server.daemon.replies[stor]
	}
	return s.goOn(s.answer(at, t))
}

// despair is what a client does between the first packet of a data connection
// that does not come about and the time at which it gives up.
func (s *session) despair(at, gaveUp time.Duration, o order) time.Duration {
	s.failed++
	if s.habit.software.epsv && !s.noEPSV && !s.client.v6 {
		s.noEPSV, s.failed = true, 0 // it falls back to PASV
		s.left++
		return gaveUp
	}
	if s.habit.software.early {
		s.conn.send(up, at, words[o.verb].length(s.fill)+s.record)
		return s.say(gaveUp, noop) // ABOR, which is as long
	}
	return gaveUp
}

// actively tries a transfer in active mode and returns when the client goes
// on. The server's packets go to the NAT gateway, if the client knows that
// it is behind one; the gateway drops them.
func (s *session) actively(at time.Duration) time.Duration {
	w, d, sw := s.w, s.server.daemon, s.habit.software
	s.failed++
	at = s.say(at, port)
	if s.client.v6 || d == &daemons[TransferFamily] || !sw.external && !d.active {
		s.habit.active = s.client.v6 // it was refused, and falls back to passive mode
		return at
	}
	o := s.order()
	s.conn.send(up, at, words[o.verb].length(s.fill)+s.record)
	gaveUp := at + min(sw.patience, 60*time.Second)
	if sw.external {
		from := place{s.server.addr, 20}
		if d.system == Windows || w.chance(0.2) {
			from.port = uint16(w.between(int(stacks[d.system].lo), int(stacks[d.system].hi)))
		}
		to := place{s.client.gateway.addrs[s.client.natAddr], s.client.ports.port(w, at, s.server.addr, 0)}
		s.client.ports.keep(to.port, gaveUp)
		wire := w.knock(at+s.conn.rtt, gaveUp-at-s.conn.rtt, s.client.gateway, from, to, d.system)
		t := s.newData(wire)
		t.Active, t.Outcome, t.Upload = true, NoAnswer, o.upload
	}
	return s.answer(gaveUp, d.failed)
}
