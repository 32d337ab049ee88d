package analyze

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// controlOK is a control connection that got as far as a transfer.
const controlOK = "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..130"

// blockedData is a data connection that the given point rejects: SYNs, or
// answers to them, three times.
func blockedData(point string) string {
	return "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 3p/180b 3p/180b 105..112 dies " + point
}

func TestScenarioBlockedData(t *testing.T) {
	var rows []scenario
	for _, x := range []struct {
		name, point string
		net         []string
		reject      string
	}{
		{"P1 by the security group", "P1", []string{"sg-client out none", "sg-client out tcp 21 0.0.0.0/0"}, "reject P1 sg sg-client 3p"},
		{"P1 by the network ACL", "P1", []string{"acl-private out 90 deny tcp 50000-50100 203.0.113.0/24"}, "reject P1 nacl acl-private 90 3p"},
		{"P1 by both", "P1", []string{"sg-client out none", "sg-client out tcp 21 0.0.0.0/0", "acl-private out 90 deny tcp 50000-50100 0.0.0.0/0"},
			"reject P1 sg sg-client 3p also acl-private rule 90"},
		{"P1 by both, the ACL by default", "P1", []string{"sg-client out none", "sg-client out tcp 21 0.0.0.0/0", "acl-private out drop 100", "acl-private out 110 allow tcp 21 0.0.0.0/0"},
			"reject P1 sg sg-client 3p also acl-private rule *"},
		{"P2", "P2", []string{"acl-public in 90 deny tcp 50000-50100 10.0.0.0/16"}, "reject P2 nacl acl-public 90 3p"},
		{"P3", "P3", []string{"acl-public out 90 deny tcp 50000-50100 203.0.113.0/24"}, "reject P3 nacl acl-public 90 3p"},
		{"P4", "P4", []string{"acl-public in 90 deny tcp 31000-31999 0.0.0.0/0"}, "reject P4 nacl acl-public 90 3p"},
		{"P4 by default", "P4", []string{"acl-public in drop 100", "acl-public in 110 allow tcp 1024-31000 0.0.0.0/0", "acl-public in 120 allow all 10.0.0.0/16"},
			"reject P4 nacl acl-public 32767 3p"},
		{"P5", "P5", []string{"acl-public out 90 deny tcp 40001 10.0.1.0/24"}, "reject P5 nacl acl-public 90 3p"},
		{"P6", "P6", []string{"acl-private in 90 deny tcp 40001 203.0.113.10/32"}, "reject P6 nacl acl-private 90 3p"},
		{"P6, not by an entry for the gateway's address", "P6",
			[]string{"acl-private in 80 deny tcp 40001 10.0.0.220/32", "acl-private in 90 deny tcp 40001 203.0.113.0/24"}, "reject P6 nacl acl-private 90 3p"},
		{"P6, by number and not by order", "P6",
			[]string{"acl-private in 95 deny tcp 40001 0.0.0.0/0", "acl-private in 90 deny tcp 40000-41000 203.0.113.0/24", "acl-private in 80 allow tcp 40000 0.0.0.0/0"},
			"reject P6 nacl acl-private 90 3p"},
	} {
		nat := " nat 10.0.0.220:31417"
		if x.point == "P1" || x.point == "P2" {
			nat = "" // it never had a port
		}
		rows = append(rows, scenario{name: x.name, calls: []string{controlOK, blockedData(x.point)}, net: x.net, want: []string{
			"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 passive 1 blocked at " + x.point,
			"data 10.0.1.5:40001 > 203.0.113.10:50010" + nat + " passive of 40000 blocked at " + x.point,
			x.reject,
		}})
	}
	play(t, rows)
}

func TestScenarioBlockedControl(t *testing.T) {
	var rows []scenario
	for _, x := range []struct {
		point, net, reject string
	}{
		{"P1", "acl-private out 90 deny tcp 21 0.0.0.0/0", "reject P1 nacl acl-private 90 3p"},
		{"P2", "acl-public in 90 deny tcp 21 10.0.1.0/24", "reject P2 nacl acl-public 90 3p"},
		{"P3", "acl-public out 90 deny tcp 21 0.0.0.0/0", "reject P3 nacl acl-public 90 3p"},
		{"P4", "acl-public in 90 deny tcp 20001 0.0.0.0/0", "reject P4 nacl acl-public 90 3p"},
		{"P5", "acl-public out 90 deny tcp 40000 10.0.1.5/32", "reject P5 nacl acl-public 90 3p"},
		{"P6", "acl-private in 90 deny tcp 40000 0.0.0.0/0", "reject P6 nacl acl-private 90 3p"},
	} {
		nat := " nat 10.0.0.220:20001"
		if x.point == "P1" || x.point == "P2" {
			nat = ""
		}
		rows = append(rows, scenario{
			name: x.point, net: []string{x.net},
			calls: []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 3p/180b 3p/180b 100..107 dies " + x.point},
			want:  []string{"session 10.0.1.5:40000 > 203.0.113.10:21" + nat + " none 0 blocked at " + x.point, x.reject, "no data"},
		})
	}
	play(t, rows)
}

func TestScenarioFarSide(t *testing.T) {
	play(t, []scenario{
		{
			name:  "the server's firewall drops the data connection",
			calls: []string{controlOK, "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 3p/180b 0p/0b 105..112 lost P4"},
			want: []string{
				"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 no-answer at server",
				"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:31417", "no reject",
			},
		},
		{
			name:  "no answer to the control connection",
			calls: []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 3p/180b 0p/0b 100..107 lost P4"},
			want:  []string{"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 no-answer at server", "no reject"},
		},
		{
			name:  "the server refuses the control connection",
			calls: []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 1p/60b 1p/40b 100..100 rst"},
			want:  []string{"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 refused at server", "no reject"},
		},
		{
			name:  "the server refuses the data connection",
			calls: []string{controlOK, "10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 1p/60b 1p/40b 105..105 rst"},
			want:  []string{"data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.0.220:31417 passive of 40000 refused at server"},
		},
		{
			name: "over IPv6 too",
			calls: []string{
				"[2600:1f18::5]:40000 > [2001:db8::10]:21 1p/80b 1p/60b 100..100 rst",
				"[2600:1f18::5]:40002 > [2001:db8::10]:21 3p/240b 0p/0b 100..107 lost P6",
			},
			want: []string{
				"session [2600:1f18::5]:40000 > [2001:db8::10]:21 none 0 refused at server",
				"session [2600:1f18::5]:40002 > [2001:db8::10]:21 none 0 no-answer at server",
			},
		},
	})
}

func TestScenarioServerInTheVPCBlocks(t *testing.T) {
	control := "10.0.1.5:40000 > 10.0.2.9:21 14p/820b 12p/1200b 100..130"
	data := "10.0.1.5:40001 > 10.0.2.9:50010 3p/180b 3p/180b 105..112 dies "
	for _, x := range []struct {
		name, call string
		net        []string
		reject     string
	}{
		{"in, by the security group", "S1", []string{"sg-server in none", "sg-server in tcp 21 10.0.0.0/16"}, "reject sg sg-server 3p"},
		{"in, by the network ACL", "S1", []string{"acl-server in 90 deny tcp 50000-50100 10.0.1.0/24"}, "reject nacl acl-server 90 3p"},
		{"in, by both", "S1", []string{"sg-server in none", "sg-server in tcp 21 10.0.0.0/16", "acl-server in 90 deny tcp 50000-50100 10.0.1.0/24"},
			"reject nacl acl-server 90 3p also sg-server"},
		{"back, by the network ACL", "S2", []string{"acl-server out 90 deny tcp 40001 10.0.1.0/24"}, "reject nacl acl-server 90 3p"},
	} {
		for _, f := range formats {
			t.Run(x.name+"/"+f.name, func(t *testing.T) {
				r := analysed(t, calls(f, control, data+x.call), Options{Network: network(t, slices.Concat(serverSubnet, x.net)...)})
				expect(t, r, x.reject,
					"data 10.0.1.5:40001 > 10.0.2.9:50010 passive of 40000 blocked at server",
					"session 10.0.1.5:40000 > 10.0.2.9:21 passive 1 blocked at server")
				stopped := 0
				for _, u := range r.Rules {
					if u.Stopped > 0 {
						stopped++
					}
				}
				if stopped != 1 {
					t.Errorf("rules that stop connections: got %d, want 1", stopped)
				}
				expectRules(t, r, serverRules...)
			})
		}
	}
}

// serverRules are those that passive FTP needs between two subnets.
var serverRules = []string{
	"P1 egress sg-client control fixed", "P1 egress sg-client data server",
	"P1 egress acl-private control fixed", "P1 egress acl-private data server",
	" ingress acl-server control fixed", " ingress acl-server data server",
	" ingress sg-server control fixed", " ingress sg-server data server",
	" egress acl-server reply client-os",
	"P6 ingress acl-private reply client-os",
}

// A point that blocks hides what the points behind it need: they count the
// port as attempted.
func TestScenarioAttemptedDemand(t *testing.T) {
	for _, x := range []struct {
		dies   string
		behind []string // rules that see the port as attempted but not used
		before []string // rules that it passed
	}{
		{"P1", elevenRulesOf("P1 data", "P2 data", "P3 data", "P5 reply", "P6 reply"), nil},
		{"P2", elevenRulesOf("P2 data", "P3 data", "P5 reply", "P6 reply"), elevenRulesOf("P1 data")},
		{"P3", elevenRulesOf("P3 data", "P4 reply", "P5 reply", "P6 reply"), elevenRulesOf("P1 data", "P2 data")},
		{"P4", elevenRulesOf("P4 reply", "P5 reply", "P6 reply"), elevenRulesOf("P1 data", "P2 data", "P3 data")},
		{"P5", elevenRulesOf("P5 reply", "P6 reply"), elevenRulesOf("P1 data", "P2 data", "P3 data", "P4 reply")},
		{"P6", elevenRulesOf("P6 reply"), elevenRulesOf("P1 data", "P2 data", "P3 data", "P4 reply", "P5 reply")},
	} {
		inFormats(t, func(t *testing.T, f logFormat) {
			r := analysed(t, calls(f, controlOK, blockedData(x.dies)), Options{Network: network(t)})
			port := map[string]string{"data": "50010", "reply": "40001"}
			for _, u := range r.Rules {
				want := port[u.Purpose]
				if u.Point == P4 {
					want = "31417"
				}
				holds := func(rs []string) bool {
					return want != "" && slices.ContainsFunc(rs, func(s string) bool { return holdsPort(s, want) })
				}
				line := ruleLine(u)
				switch {
				case slices.Contains(x.behind, line) && (!holds(u.Attempted) || holds(u.Used)):
					t.Errorf("dies at %s: %s: got used %v and attempted %v, want %s attempted only", x.dies, line, u.Used, u.Attempted, want)
				case slices.Contains(x.before, line) && !holds(u.Used):
					t.Errorf("dies at %s: %s: got used %v, want %s among them", x.dies, line, u.Used, want)
				}
			}
			if got := ruleLines(r); len(got) != 11 {
				t.Errorf("dies at %s: got %d rules, want eleven: %q", x.dies, len(got), got)
			}
		})
	}
}

// elevenRulesOf returns those of the eleven rules at a point for a purpose.
func elevenRulesOf(which ...string) []string {
	return slices.DeleteFunc(slices.Clone(elevenRules), func(l string) bool {
		return !slices.ContainsFunc(which, func(w string) bool {
			point, purpose, _ := strings.Cut(w, " ")
			return strings.HasPrefix(l, point) && strings.Contains(l, " "+purpose+" ")
		})
	})
}

func holdsPort(r, port string) bool {
	from, to, ok := strings.Cut(r, "-")
	if !ok {
		to = from
	}
	return number(from) <= number(port) && number(port) <= number(to)
}

// Pitfalls 26 and 30: what the logs alone say.
func TestScenarioRejectsWithoutSnapshot(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		for _, x := range []struct {
			call, want string
		}{
			{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 3p/180b 3p/180b 100..107 dies P1", "reject P1 undetermined 3p"},
			{"10.0.0.7:40000 > 203.0.113.10:21 3p/180b 3p/180b 100..107 dies P6", "reject P6 nacl 3p"},
			{"198.51.100.9:40000 > 10.0.0.7:21 3p/180b 3p/180b 100..107 dies S1", "reject undetermined 3p"},
			{"198.51.100.9:40000 > 10.0.0.7:21 3p/180b 3p/180b 100..107 dies S2", "reject nacl 3p"},
		} {
			expect(t, analysed(t, calls(f, x.call), Options{}), x.want)
		}
	})
	for _, p := range []string{"P2", "P3", "P4", "P5"} {
		r := analysed(t, calls(rich, passiveSession[0], passiveSession[1], "10.0.1.5:40003 > 10.0.0.220:20003 > 203.0.113.10:21 3p/180b 3p/180b 300..307 dies "+p), Options{})
		expect(t, r, "reject "+p+" nacl 3p")
	}
}

func TestScenarioRejectReason(t *testing.T) {
	for reason, want := range map[string]string{"BPA": "reject P1 bpa 3p", "EC": "reject P1 encryption 3p"} {
		rs := records("eni-10.0.1.5 egress 10.0.1.5:40000 > 203.0.113.10:21 3p/180b 100..107 REJECT SYN pkt 10.0.1.5 > 203.0.113.10 reason " + reason)
		r := analysed(t, rs, Options{Network: network(t)})
		expect(t, r, want, "session 10.0.1.5:40000 > 203.0.113.10:21 none 0 blocked at P1")
		if f := r.Findings[0]; !strings.HasPrefix(f.Evidence, "The records' reject-reason names VPC ") || !strings.HasPrefix(f.Advice, "Change VPC ") {
			t.Errorf("got %q and %q, want them to name what the record names", f.Evidence, f.Advice)
		}
		expect(t, analysed(t, rs, Options{Network: network(t, "acl-private out 90 deny tcp 21 0.0.0.0/0")}), want)
		expect(t, analysed(t, rs, Options{}), want)
	}
}

// Pitfall 30: no rule is to blame for what comes after the end.
func TestScenarioLatePackets(t *testing.T) {
	const (
		closed   = "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..112"
		direct   = "10.0.0.7:40000 > 203.0.113.10:21 14p/820b 12p/1200b 100..112"
		open     = direct + " open"
		ok       = "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 no-data"
		directOK = "session 10.0.0.7:40000 > 203.0.113.10:21 none 0 no-data"
	)
	networks := [][]string{
		{}, {"sg-client out none", "sg-client out tcp 22 0.0.0.0/0"}, // the snapshot is of later, when FTP was forbidden
		{"acl-private in 90 deny tcp 40000 0.0.0.0/0", "acl-public in 90 deny tcp 20001-40000 203.0.113.0/24"},
	}
	for _, x := range []struct {
		name, call, late, reject string
		session                  string
	}{
		{"through the NAT gateway, right after FIN", closed, "eni-10.0.1.5 ingress 203.0.113.10:21 > 10.0.1.5:40000 1p/40b 113..113 REJECT 0", "reject P6 late 1p", ok},
		{"through the NAT gateway, after FIN", closed, "eni-10.0.1.5 ingress 203.0.113.10:21 > 10.0.1.5:40000 1p/40b 120..120 REJECT RST", "reject P6 late 1p", ok},
		{"at the NAT gateway", closed, "eni-nat ingress 203.0.113.10:21 > 10.0.0.220:20001 2p/80b 120..123 REJECT 0", "reject P4 late 2p", ok},
		{"after FIN", direct, "eni-10.0.0.7 ingress 203.0.113.10:21 > 10.0.0.7:40000 1p/40b 120..120 REJECT RST", "reject P6 late 1p", directOK},
		{"minutes after FIN", direct, "eni-10.0.0.7 ingress 203.0.113.10:21 > 10.0.0.7:40000 1p/40b 400..400 REJECT RST", "reject P6 late 1p", directOK},
		{"ten minutes after FIN", direct, "eni-10.0.0.7 ingress 203.0.113.10:21 > 10.0.0.7:40000 1p/40b 720..720 REJECT RST", "reject P6 late 1p", directOK},
		{"after the idle time-out", open, "eni-10.0.0.7 ingress 203.0.113.10:21 > 10.0.0.7:40000 1p/40b 480..480 REJECT 0", "reject P6 late 1p", directOK},
		{"long after the idle time-out", open, "eni-10.0.0.7 ingress 203.0.113.10:21 > 10.0.0.7:40000 1p/40b 700..700 REJECT 0", "reject P6 late 1p", directOK},
	} {
		for _, f := range formats {
			for i, net := range networks {
				t.Run(fmt.Sprintf("%s/%s/network %d", x.name, f.name, i), func(t *testing.T) {
					net := append([]string{"eni eni-10.0.0.7 10.0.0.7 subnet-public sg-client"}, net...)
					r := analysed(t, slices.Concat(calls(f, x.call), records(in(f, x.late))), Options{Network: network(t, net...)})
					expect(t, r, x.reject, x.session)
					if end := slices.Collect(r.Sessions.All())[0].End; end != scenarioStart+112 {
						t.Errorf("session's end: got %d s, want 112 s: late packets do not prolong it", end-scenarioStart)
					}
				})
			}
		}
	}
}

// A reply that no packet of its way preceded is not late: a rule denied it.
func TestScenarioRejectAfterSilenceOfAnUnansweredFlow(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		expect(t, analysed(t, calls(f, "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 1p/60b 1p/60b 100..100 dies P6"),
			Options{Network: network(t, "acl-private in 90 deny tcp 40000 0.0.0.0/0")}),
			"reject P6 nacl acl-private 90 1p", "session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 blocked at P6")
	})
}

// Pitfalls 25 and 31: a rule edited in the middle of a connection.
func TestScenarioRuleEdited(t *testing.T) {
	deny := []string{"acl-private in 90 deny tcp 40001 203.0.113.0/24"}
	both := networks(t, map[int64][]string{0: nil, 200: deny})
	inFormats(t, func(t *testing.T, f logFormat) {
		// A long download; from 200 s on its packets are rejected at P6 while the client's keep-alives go out.
		data := parseCall("10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 20p/1040b 300p/420000b 150..240 open without P6").records(f)
		accepted := parseCall("10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 20p/1040b 200p/280000b 150..199 open without P1,P2,P3,P4,P5").records(f)
		rejected := parseCall("10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 20p/1040b 100p/140000b 201..240 open begun without P1,P2,P3,P4,P5 dies P6").records(f)
		for i := range rejected {
			rejected[i].TCPFlags = 0
		}
		control := calls(f, "10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 140..260")
		rs := slices.Concat(control, data, accepted, rejected)
		for name, o := range map[string]Options{"two snapshots": {Network: both}, "the later one only": {Network: network(t, deny...)}} {
			t.Run(name, func(t *testing.T) {
				r := analysed(t, rs, o)
				expect(t, r, "reject P6 nacl acl-private 90 100p", "map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:31417")
				if data := slices.Collect(r.Data.All()); len(data) != 1 || data[0].SessionID == "" {
					t.Errorf("data connections: got %+v, want one, of the session", data)
				}
			})
		}
		t.Run("the earlier one only", func(t *testing.T) {
			r := analysed(t, rs, Options{Network: network(t)})
			expect(t, r, "reject P6 undetermined 100p")
		})
	})
}

func TestScenarioSnapshotInForceThen(t *testing.T) {
	o := Options{Network: networks(t, map[int64][]string{0: {"acl-public in 90 deny tcp 20001 0.0.0.0/0"}, 500: {"acl-public in 80 deny tcp 20001 0.0.0.0/0"}, 1000: nil})}
	inFormats(t, func(t *testing.T, f logFormat) {
		expect(t, analysed(t, calls(f,
			"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 3p/180b 3p/180b 100..107 dies P4",
			"10.0.1.5:40002 > 10.0.0.220:20001 > 203.0.113.10:21 2p/120b 2p/120b 600..607 dies P4",
			"10.0.1.5:40004 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 1100..1107"), o),
			"reject P4 nacl acl-public 90 3p", "reject P4 nacl acl-public 80 2p",
			"session 10.0.1.5:40000 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 blocked at P4",
			"session 10.0.1.5:40002 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 blocked at P4",
			"session 10.0.1.5:40004 > 203.0.113.10:21 nat 10.0.0.220:20001 none 0 no-data")
	})
}

func TestScenarioStaleSnapshot(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		stale := func(net ...string) bool {
			r := analysed(t, calls(f, passiveSession...), Options{Network: network(t, net...)})
			return slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "stale") })
		}
		if stale() {
			t.Error("got a warning of a stale snapshot, want none")
		}
		for _, net := range []string{
			"sg-client out none", "acl-private out 90 deny tcp 50010 0.0.0.0/0", "acl-public in 90 deny tcp 21 10.0.1.0/24",
			"acl-public out 90 deny tcp 50010 0.0.0.0/0", "acl-public in 90 deny tcp 31417 0.0.0.0/0",
			"acl-public out 90 deny tcp 40001 0.0.0.0/0", "acl-private in 90 deny tcp 40001 0.0.0.0/0",
		} {
			if !stale(net) {
				t.Errorf("%s, although the connection was accepted: got no warning of a stale snapshot, want one", net)
			}
		}
	})
}

// Pitfall 29: inside a subnet no network ACL applies.
func TestScenarioNoNACLInsideASubnet(t *testing.T) {
	denyAll := []string{"acl-private in 90 deny all 10.0.0.0/16", "acl-private out 90 deny all 10.0.0.0/16"}
	inFormats(t, func(t *testing.T, f logFormat) {
		t.Run("server beside the client", func(t *testing.T) {
			net := append([]string{"eni eni-10.0.1.9 10.0.1.9 subnet-private sg-server", "sg-server in tcp 21 10.0.0.0/16"}, denyAll...)
			r := analysed(t, calls(f, "10.0.1.5:40000 > 10.0.1.9:21 14p/820b 12p/1200b 100..130",
				"10.0.1.5:40001 > 10.0.1.9:50010 3p/180b 3p/180b 105..112 dies S1"), Options{Network: network(t, net...)})
			expect(t, r, "reject sg sg-server 3p")
			if slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "stale") }) {
				t.Errorf("got %q, want no warning of a stale snapshot", r.Warnings)
			}
		})
		t.Run("NAT gateway beside the client", func(t *testing.T) {
			net := append([]string{"nat nat-private eni-nat-private 10.0.1.220 subnet-private", "route subnet-private 0.0.0.0/0 igw-1",
				"route subnet-private 203.0.113.0/24 nat-private", "acl-private out 95 deny tcp 50000-50100 0.0.0.0/0"}, denyAll...)
			r := analysed(t, calls(f, "10.0.1.5:40000 > 10.0.1.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..130",
				"10.0.1.5:40001 > 10.0.1.220:20002 > 203.0.113.10:50010 3p/180b 3p/180b 105..112 dies P3"), Options{Network: network(t, net...)})
			expect(t, r, "reject P3 nacl acl-private 95 3p", "data 10.0.1.5:40001 > 203.0.113.10:50010 nat 10.0.1.220:20002 passive of 40000 blocked at P3")
		})
	})
}

// What the NAT gateway took and never sent on has not left the VPC: the far
// side is not to blame, with the rules known or not.
func TestScenarioDiesInTheGateway(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		for _, o := range []Options{{Network: network(t)}, {}} {
			rs := calls(f,
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 14p/820b 12p/1200b 100..160",
				"10.0.1.6:41000 > 10.0.0.220:20003 > 203.0.113.10:21 14p/820b 12p/1200b 200..260",
				"10.0.1.6:41001 > 10.0.0.220:20004 > 203.0.113.10:50011 6p/320b 10p/10528b 210..212",
				"10.0.1.5:40001 > 10.0.0.220:31417 > 203.0.113.10:50010 3p/180b 0p/0b 105..112 lost P3")
			r := analysed(t, rs, o)
			got := ""
			for _, line := range told(r) {
				if strings.Contains(line, ":50010 ") {
					got = line
				}
			}
			if want := "data 10.0.1.5:40001 > 203.0.113.10:50010 passive of 40000 no-answer at P2"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			for _, x := range r.Findings {
				if strings.Contains(x.Title, "got no answer from") {
					t.Errorf("blames the far side: %s", x.Title)
				}
			}
		}
	})
}
