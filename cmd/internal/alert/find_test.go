package alert

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

const noon = 1795348800 // 2026-11-22T12:00:00Z

// at is a time, in seconds after noon.
func at(seconds int) analyze.Time { return analyze.Time(noon + seconds) }

func addr(t testing.TB, s string) flow.Addr {
	t.Helper()
	a, err := flow.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func hostPort(t testing.TB, s string) (flow.Addr, uint16) {
	t.Helper()
	p, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return flow.AddrFrom(p.Addr()), p.Port()
}

// rows make a report.
type rows struct {
	t        testing.TB
	sessions []analyze.Session
	data     []analyze.DataConnection
	rejects  []analyze.RejectedFlow
	ports    []analyze.PortDemand
	rules    []analyze.RuleUse
	nats     []analyze.NATInterface
}

func (r *rows) result() *analyze.Result {
	return &analyze.Result{
		Coverage: analyze.Coverage{Snapshot: true, Start: at(0), End: at(86400)},
		Sessions: analyze.RowsOf(r.sessions...), Data: analyze.RowsOf(r.data...), Rejects: analyze.RowsOf(r.rejects...),
		Ports: r.ports, Rules: r.rules, NATGateways: r.nats,
	}
}

// session adds one: "10.0.1.5:40000 203.0.113.10:21".
func (r *rows) session(id, ends string, start, end int) *analyze.Session {
	client, server, _ := strings.Cut(ends, " ")
	s := analyze.Session{ID: id, Start: at(start), End: at(end), Outcome: analyze.OutcomeOK, Mode: "passive", Confidence: 1}
	s.ClientAddr, s.ClientPort = hostPort(r.t, client)
	s.ServerAddr, s.ServerPort = hostPort(r.t, server)
	r.sessions = append(r.sessions, s)
	return &r.sessions[len(r.sessions)-1]
}

// transfer adds a data connection that surely is one.
func (r *rows) transfer(session, ends string, start, end int) *analyze.DataConnection {
	client, server, _ := strings.Cut(ends, " ")
	d := analyze.DataConnection{
		ID: "d-" + session, SessionID: session, Candidates: []string{session}, Probabilities: []float64{1}, Confidence: 1, FTPProbability: 1,
		Mode: "passive", Start: at(start), End: at(end), Outcome: analyze.OutcomeBlocked,
	}
	d.ClientAddr, d.ClientPort = hostPort(r.t, client)
	d.ServerAddr, d.ServerPort = hostPort(r.t, server)
	r.data = append(r.data, d)
	return &r.data[len(r.data)-1]
}

// reject adds a flow that the default entry of a network ACL rejected:
// "10.0.1.5:40001 203.0.113.10:55000".
func (r *rows) reject(direction flow.Direction, p analyze.Point, ends string, start int) *analyze.RejectedFlow {
	src, dst, _ := strings.Cut(ends, " ")
	x := analyze.RejectedFlow{
		InterfaceID: "eni-1", SubnetID: "subnet-1", Direction: direction, Point: p, Protocol: 6, Packets: 3, Bytes: 180, Records: 1,
		Start: at(start), End: at(start + 7), Cause: analyze.CauseNACL, CauseID: "acl-1", RuleNumber: 32767, RuleDefault: true, Confidence: 0.99,
		Evidence: "acl-1 denies: * deny all",
	}
	x.SrcAddr, x.SrcPort = hostPort(r.t, src)
	x.DstAddr, x.DstPort = hostPort(r.t, dst)
	x.PktSrcAddr, x.PktDstAddr = x.SrcAddr, x.DstAddr
	r.rejects = append(r.rejects, x)
	return &r.rejects[len(r.rejects)-1]
}

// demand adds a slot of acl-1 for data to a server.
func (r *rows) demand(used string, allowed ...string) *analyze.PortDemand {
	p := analyze.PortDemand{
		Slot: "acl-1/egress/203.0.113.10/32/data", Filter: "nacl", FilterID: "acl-1", Direction: flow.Egress, Peer: "203.0.113.10/32",
		Protocol: "tcp", Purpose: "data", PortChosenBy: analyze.ChosenServer, AllowedNow: allowed,
	}
	if used != "" {
		p.Ranges = strings.Split(used, ";")
		p.AttemptedRanges = p.Ranges
	}
	r.ports = append(r.ports, p)
	return &r.ports[len(r.ports)-1]
}

// stopped adds a session, one data connection of it, and its rejection at P1.
func (r *rows) stopped(port int) *analyze.RejectedFlow {
	server := fmt.Sprint(" 203.0.113.10:", port)
	r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 60)
	r.transfer("s-1", "10.0.1.5:40001"+server, 10, 20)
	return r.reject(flow.Egress, analyze.P1, "10.0.1.5:40001"+server, 10)
}

// The texts of all kinds, for review.
func TestTexts(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(r *rows)
	}{
		{"deny-entry", func(r *rows) {
			x := r.stopped(3389)
			x.RuleNumber, x.RuleDefault, x.AlsoDeniedBy = 90, false, []string{"sg-9"}
			r.rules = []analyze.RuleUse{{
				Number: 2, Filter: "nacl", FilterID: "acl-1", Name: "private", Direction: flow.Egress, Point: analyze.P1, Purpose: "data",
				RulesKnown: true, Passed: 11, Stopped: 1, StoppedBy: []string{"acl-1 rule 90 deny tcp 3389 to 0.0.0.0/0"},
				Why: "It stops connections: 3389 is not allowed.", Advice: "In private (acl-1) take away acl-1 rule 90 deny tcp 3389 to 0.0.0.0/0.",
				Evidence: "The rules then in force name acl-1 rule 90 for the one; 11 others passed here.",
			}}
		}},
		{"security-group", func(r *rows) {
			r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 60)
			x := r.reject(flow.Egress, analyze.P1, "10.0.1.5:40000 203.0.113.10:21", 0)
			x.Cause, x.CauseID, x.RuleNumber, x.RuleDefault, x.Evidence = analyze.CauseSG, "sg-1;sg-2", 0, false, "security group sg-1 denies"
		}},
		{"undetermined", func(r *rows) {
			x := r.stopped(50000)
			x.Cause, x.CauseID, x.RuleNumber, x.RuleDefault, x.Confidence = analyze.CauseUndetermined, "", 0, false, 0.5
			x.Evidence = "a first packet can be rejected by the security group or by the network ACL"
		}},
		{"block-public-access", func(r *rows) {
			x := r.stopped(50000)
			x.Cause, x.CauseID, x.RuleNumber, x.RuleDefault, x.Evidence = analyze.CauseBPA, "", 0, false, "reject-reason is BPA"
		}},
		{"outside-range", func(r *rows) {
			r.stopped(55010)
			r.demand("50003-50090", "21", "443", "50000-50100").AttemptedRanges = []string{"50003-50090", "55010"}
		}},
		{"used-outside-range", func(r *rows) {
			r.demand("50003-50090;55010-55020", "21", "443", "50000-50100")
		}},
		{"silent-control", func(r *rows) {
			for k := range 9 {
				s := r.session(fmt.Sprint("s-", k), fmt.Sprintf("10.0.1.%d:40000 203.0.113.10:21", 10+k), k, 1000+k)
				s.Outcome, s.DiedAt, s.NATInterface = analyze.OutcomeIdleTimeout, "P2", "eni-nat"
				s.Cause = fmt.Sprintf("silent for %d s: the NAT gateway forgets a connection after 350 s, and answers what follows with RST", 420+k)
			}
		}},
		{"active-mode", func(r *rows) {
			r.nats = []analyze.NATInterface{{InterfaceID: "eni-nat", GatewayID: "nat-1", SubnetID: "subnet-2", Addrs: []flow.Addr{addr(r.t, "10.0.0.220")}}}
			r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 60)
			d := r.transfer("s-1", "10.0.0.220:45678 203.0.113.10:20", 10, 13)
			d.Mode, d.DiedAt = "active", "P4"
			r.reject(flow.Ingress, analyze.P4, "203.0.113.10:20 10.0.0.220:45678", 10)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rows{t: t}
			test.make(r)
			compare(t, test.name, find(t, r.result()))
		})
	}
}

// kindsOf lists what was found: "nacl-reject data 1".
func kindsOf(as []Alert) string {
	var words []string
	for _, a := range as {
		words = append(words, strings.Join(strings.Fields(fmt.Sprint(a.Kind, " ", a.Purpose, " ", a.Flows)), " "))
	}
	return strings.Join(words, ", ")
}

// What is an alert, and of which kind.
func TestFind(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(r *rows)
		want string
	}{
		{"nothing", func(*rows) {}, ""},
		{"a stopped data connection", func(r *rows) { r.stopped(50000) }, "nacl-reject data 1"},
		{"late packets", func(r *rows) { r.stopped(50000).Cause = analyze.CauseLate }, ""},
		{"no FTP", func(r *rows) { r.reject(flow.Egress, analyze.P1, "10.0.1.5:40001 203.0.113.10:443", 5) }, ""},
		{"the same ports, of UDP", func(r *rows) { r.stopped(50000).Protocol = 17 }, ""},
		{"perhaps FTP", func(r *rows) { r.stopped(50000); r.data[0].FTPProbability = 0.89 }, ""},
		{"perhaps FTP, and once surely", func(r *rows) {
			r.stopped(50000)
			r.transfer("", "10.0.1.5:40002 203.0.113.10:50001", 30, 40).FTPProbability = 0.6
			r.reject(flow.Egress, analyze.P1, "10.0.1.5:40002 203.0.113.10:50001", 30)
		}, "nacl-reject data 2"},
		{"given to no session", func(r *rows) { r.stopped(50000); r.data[0].SessionID = "" }, "nacl-reject data 1"},
		{"two entries", func(r *rows) {
			r.stopped(50000)
			r.transfer("s-1", "10.0.1.5:40002 203.0.113.10:50001", 30, 40)
			x := r.reject(flow.Egress, analyze.P1, "10.0.1.5:40002 203.0.113.10:50001", 30)
			x.RuleNumber, x.RuleDefault = 90, false
		}, "nacl-reject data 1, nacl-reject data 1"},
		{"replies, translated", func(r *rows) {
			s := r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 60)
			s.NATAddr, s.NATPort = addr(r.t, "10.0.0.220"), 2222
			r.reject(flow.Ingress, analyze.P4, "203.0.113.10:21 10.0.0.220:2222", 1)
		}, "nacl-reject reply 1"},
		{"inside of the gateway, without header addresses", func(r *rows) {
			r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 60)
			x := r.reject(flow.Ingress, analyze.P2, "10.0.1.5:40000 10.0.0.220:21", 1)
			x.PktSrcAddr, x.PktDstAddr = flow.Addr{}, flow.Addr{}
		}, "nacl-reject control 1"},
		{"answer inside, without header addresses", func(r *rows) {
			r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 60)
			x := r.reject(flow.Egress, analyze.P5, "10.0.0.220:21 10.0.1.5:40000", 1)
			x.PktSrcAddr, x.PktDstAddr = flow.Addr{}, flow.Addr{}
		}, "nacl-reject reply 1"},
		{"active mode without a gateway", func(r *rows) {
			d := r.transfer("s-1", "10.0.1.5:40001 10.0.2.9:20", 10, 20)
			d.Mode, d.DiedAt = "active", "P6"
			r.reject(flow.Ingress, analyze.P6, "10.0.2.9:20 10.0.1.5:40001", 10)
		}, "nacl-reject data 1"},
		{"the client's answer in active mode", func(r *rows) {
			d := r.transfer("s-1", "10.0.1.5:40001 10.0.2.9:20", 10, 20)
			d.Mode, d.DiedAt = "active", "P1"
			r.reject(flow.Egress, analyze.P1, "10.0.1.5:40001 10.0.2.9:20", 10)
		}, "nacl-reject reply 1"},
		{"active mode, perhaps", func(r *rows) {
			d := r.transfer("s-1", "10.0.0.220:45678 203.0.113.10:20", 10, 13)
			d.Mode, d.DiedAt, d.FTPProbability = "active", "P4", 0.7
		}, ""},
		{"a connection cut in its life, an hour after its start", func(r *rows) {
			r.session("s-1", "10.0.1.5:40000 203.0.113.10:21", 0, 4000)
			for k := range 3000 { // many that are over, so that they are forgotten
				r.session(fmt.Sprint("s-x", k), fmt.Sprintf("10.0.2.5:%d 203.0.113.10:21", 10000+k), 10, 20)
			}
			r.session("s-2", "10.0.1.6:40000 203.0.113.10:21", 3600, 4000)
			r.reject(flow.Egress, analyze.P1, "10.0.1.5:40000 203.0.113.10:21", 3600)
		}, "nacl-reject control 1"},
		{"the ports of one that is long over", func(r *rows) {
			for k := range 3000 {
				r.session(fmt.Sprint("s-x", k), fmt.Sprintf("10.0.2.5:%d 203.0.113.10:21", 10000+k), 10, 20)
			}
			r.reject(flow.Egress, analyze.P1, "10.0.2.5:10000 203.0.113.10:21", 9000)
		}, ""},

		{"open range, all inside", func(r *rows) { r.demand("50000-50100", "1024-65535") }, ""},
		{"outside a narrowed range", func(r *rows) { r.stopped(55010); r.demand("50003-50090", "21", "50000-50100") }, "port-outside-range data 1"},
		{"outside, at a security group", func(r *rows) {
			x := r.stopped(55010)
			x.Cause, x.CauseID, x.RuleDefault = analyze.CauseSG, "sg-1", false
			d := r.demand("50003-50090", "50000-50100")
			d.Filter, d.FilterID = "sg", "sg-1"
		}, "port-outside-range data 1"},
		{"outside, and used", func(r *rows) { r.stopped(55010); r.demand("50003-50090;55000", "21", "50000-50100") }, "port-outside-range data 1"},
		{"inside a narrowed range, stopped before it was so", func(r *rows) { r.stopped(50050); r.demand("50003-50090", "50000-50100") }, "nacl-reject data 1"},
		{"denied on purpose", func(r *rows) {
			r.stopped(55010).RuleDefault = false
			r.demand("50003-50090", "50000-50100")
		}, "nacl-reject data 1"},
		{"of another server", func(r *rows) {
			r.stopped(55010)
			r.demand("50003-50090", "50000-50100").Peer = "203.0.113.11/32"
		}, "nacl-reject data 1"},
		{"nothing was allowed", func(r *rows) { r.stopped(55010); r.demand("", "21", "443") }, "nacl-reject data 1"},
		{"a hole for one service", func(r *rows) { r.stopped(3389); r.demand("50003", "1024-3388", "3390-65535") }, "nacl-reject data 1"},
		{"the rules are not known", func(r *rows) { r.stopped(55010); r.demand("55000").UnusedNow = -1 }, "nacl-reject data 1"},
		{"a NAT gateway's ports", func(r *rows) {
			r.stopped(55010)
			r.demand("50003-60000", "32768-54999").PortChosenBy = analyze.ChosenNAT
		}, "nacl-reject data 1"},
		{"other traffic outside", func(r *rows) { r.demand("50003-60000", "32768-54999").Purpose = "other" }, ""},
		{"a cover's holes are no ports", func(r *rows) { r.demand("50003-60000", "50000-50100", "59990-60000") }, ""},
		{"two slots of one server", func(r *rows) {
			r.demand("50003;55000", "50000-50100")
			r.demand("50003;55000", "50000-50100").Direction = flow.Ingress
		}, "port-outside-range data 0, port-outside-range data 0"},

		{"two networks silent", func(r *rows) {
			for k, client := range []string{"10.0.1.5", "10.0.1.6", "10.0.2.5", "[2600:1f18::5]"} {
				r.session(fmt.Sprint("s-", k), client+":40000 203.0.113.10:21", k, 500).Outcome = analyze.OutcomeIdleTimeout
			}
		}, "silent-control 2, silent-control 1, silent-control 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rows{t: t}
			test.make(r)
			if got := kindsOf(find(t, r.result())); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// ids lists the IDs in order.
func ids(as []Alert) []string {
	var s []string
	for _, a := range as {
		s = append(s, a.ID)
	}
	slices.Sort(s)
	return s
}

// mixed adds rows of all kinds for one day after the other, with other ports
// and clients each day.
func (r *rows) mixed(days int) {
	r.demand("50003-50090", "21", "50000-50100")
	for day := range days {
		now, id := 86400*day, fmt.Sprint("s-", day)
		client := fmt.Sprintf("10.0.1.%d", 5+day%3)
		s := r.session(id, client+":40000 203.0.113.10:21", now, now+60)
		s.NATAddr, s.NATPort, s.Outcome = addr(r.t, "10.0.0.220"), uint16(2000+day), analyze.OutcomeIdleTimeout
		r.transfer(id, fmt.Sprintf("%s:40001 203.0.113.10:%d", client, 55000+day), now+5, now+6)
		d := r.transfer(id, fmt.Sprintf("10.0.0.220:%d 203.0.113.10:20", 45000+day), now+7, now+8)
		d.Mode, d.DiedAt = "active", "P4"
		r.reject(flow.Ingress, analyze.P4, fmt.Sprintf("203.0.113.10:21 10.0.0.220:%d", 2000+day), now+1)
		r.reject(flow.Egress, analyze.P1, fmt.Sprintf("%s:40001 203.0.113.10:%d", client, 55000+day), now+5)
		x := r.reject(flow.Ingress, analyze.P6, "203.0.113.10:21 "+client+":40000", now+6)
		x.Cause, x.CauseID, x.RuleNumber, x.RuleDefault = analyze.CauseSG, "sg-1", 0, false
		x = r.reject(flow.Egress, analyze.P1, client+":40000 203.0.113.10:21", now+6)
		x.Cause, x.CauseID, x.RuleNumber, x.RuleDefault = analyze.CauseUndetermined, "", 0, false
	}
}

// The same causes have the same IDs in a report over a longer time, and in
// whatever order rows of one second and of tables come.
func TestIDsStay(t *testing.T) {
	short := &rows{t: t}
	short.mixed(1)
	want := ids(find(t, short.result()))
	if len(want) != 6 {
		t.Fatalf("got %d alerts, want one of each kind", len(want))
	}
	long := &rows{t: t}
	long.mixed(30)
	as := find(t, long.result())
	if got := ids(as); !slices.Equal(got, want) {
		t.Errorf("over a longer time got %q, want %q", got, want)
	}
	for _, a := range as {
		if a.Kind != PortOutsideRange && a.Flows != 30 {
			t.Errorf("%s counts %d flows, want 30", a.Kind, a.Flows)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r := &rows{t: t}
		r.mixed(1)
		shuffle(rng, r.sessions)
		shuffle(rng, r.data)
		shuffle(rng, r.rejects)
		shuffle(rng, r.ports)
		if got := ids(find(t, r.result())); !slices.Equal(got, want) {
			t.Fatalf("in another order got %q, want %q", got, want)
		}
	}
}

func shuffle[T any](rng *rand.Rand, s []T) {
	rng.Shuffle(len(s), func(i, k int) { s[i], s[k] = s[k], s[i] })
}

// An ID is of all that identifies a cause, and never changes.
func TestIDs(t *testing.T) {
	base := cause{NACLReject, "acl-1", 100, flow.Ingress, "reply", "", "", ""}
	if got, want := base.id(), "000456fcb37721803680b1f4150f0e13"; got != want {
		t.Errorf("got %s, want %s: marks of earlier versions would not hold", got, want)
	}
	seen := map[string]cause{}
	for _, c := range []cause{
		base,
		{SGReject, "acl-1", 100, flow.Ingress, "reply", "", "", ""},
		{NACLReject, "acl-11", 100, flow.Ingress, "reply", "", "", ""},
		{NACLReject, "acl-1", 10, flow.Ingress, "reply", "", "", ""},
		{NACLReject, "acl-1", 100, flow.Egress, "reply", "", "", ""},
		{NACLReject, "acl-1", 100, flow.Ingress, "data", "", "", ""},
		{NACLReject, "acl-1", 100, flow.Ingress, "reply", "x", "", ""},
		{NACLReject, "acl-1", 100, flow.Ingress, "reply", "", "x", ""},
		{NACLReject, "acl-1", 100, flow.Ingress, "reply", "", "", "x"},
		{NACLReject, "acl-1", 100, flow.Ingress, `reply" "x`, "", "", ""},
	} {
		if d, ok := seen[c.id()]; ok {
			t.Errorf("%v and %v have one ID", c, d)
		}
		seen[c.id()] = c
	}
}

// Many causes are bounded: in number, and each in its lists and its text.
func TestManyCauses(t *testing.T) {
	r := &rows{t: t}
	for k := range maxCauses + 700 {
		client := fmt.Sprintf("10.%d.%d.5", k/250, k%250)
		r.session(fmt.Sprint("s-", k), client+":40000 203.0.113.10:21", k, k+60)
		x := r.reject(flow.Egress, analyze.P1, client+":40000 203.0.113.10:21", k)
		x.CauseID = fmt.Sprint("acl-", k%(maxCauses+100))
		x.Evidence = strings.Repeat("é", 100_000)
	}
	as := find(t, r.result())
	if len(as) != maxCauses+1 || as[0].Flows != 2 || as[maxCauses].Kind != MoreCauses || as[maxCauses].Flows != 100 {
		t.Fatalf("got %d alerts, the first of %d flows, the last %s of %d", len(as), as[0].Flows, as[len(as)-1].Kind, as[len(as)-1].Flows)
	}
	for _, a := range as {
		if len(a.Text) > maxText || !isPlain(a.Subject) {
			t.Fatalf("%d bytes of text, subject %q", len(a.Text), a.Subject)
		}
	}

	r = &rows{t: t}
	for k := range 2000 {
		client := fmt.Sprintf("10.%d.%d.5", k/250, k%250)
		r.session(fmt.Sprint("s-", k), client+":40000 203.0.113.10:21", k, k+60)
		r.reject(flow.Egress, analyze.P1, client+":40000 203.0.113.10:21", k)
	}
	as = find(t, r.result())
	if len(as) != 1 || as[0].Flows != 2000 || len(as[0].Clients) != maxNamed || !strings.Contains(as[0].Text, "and at least 251 more") {
		t.Errorf("got %d alerts: %+v", len(as), as)
	}
}

// isPlain reports whether SNS takes a subject.
func isPlain(s string) bool {
	return len(s) > 0 && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func TestSubject(t *testing.T) {
	for in, want := range map[string]string{
		"a":                      "a",
		"é\na\x7f":               "??a?",
		strings.Repeat("x", 100): strings.Repeat("x", 100),
		strings.Repeat("x", 101): strings.Repeat("x", 97) + "...",
	} {
		if got := ascii(in, maxSubject); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
