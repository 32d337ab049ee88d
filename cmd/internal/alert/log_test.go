package alert

import (
	"fmt"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest"
)

// A log is a flow log with the NAT gateway 10.0.0.220 (eni-nat) and the
// client 10.0.1.5 (eni-client).
type log struct{ strings.Builder }

// leg adds records of both ways at one interface: "10.0.1.5:40000
// 203.0.113.10:21" are the header addresses, and as the ends that the record
// shows.
func (l *log) leg(iface, direction, header, as string, packets int, start, end int, flags string) {
	h, r := strings.FieldsFunc(header, split), strings.FieldsFunc(as, split)
	fmt.Fprintf(l, "5 123456789012 %s %s %s %s %s 6 %d %d %d %d ACCEPT OK %s %s %s %s\n",
		iface, r[0], r[2], r[1], r[3], packets, 60*packets, noon+start, noon+end, flags, h[0], h[2], direction)
}

func split(r rune) bool { return r == ':' || r == ' ' }

// through adds one way of a connection through the NAT gateway, and its
// answers if there are any.
func (l *log) through(client, nat, server string, up, down, start, end int, first string) {
	add := func(packets int, flags string, legs ...[4]string) {
		for _, x := range legs {
			l.leg(x[0], x[1], x[2], x[3], packets, start, end, flags)
		}
	}
	port := func(s string) string { return s[strings.IndexByte(s, ':'):] }
	inside := "10.0.0.220" + port(server)
	add(up, first,
		[4]string{"eni-client", "egress", client + " " + server, client + " " + server},
		[4]string{"eni-nat", "ingress", client + " " + server, client + " " + inside},
		[4]string{"eni-nat", "egress", nat + " " + server, nat + " " + server})
	answer := "0"
	if first != "0" {
		answer = "18"
	}
	add(down, answer,
		[4]string{"eni-nat", "ingress", server + " " + nat, server + " " + nat},
		[4]string{"eni-nat", "egress", server + " " + client, inside + " " + client},
		[4]string{"eni-client", "ingress", server + " " + client, server + " " + client})
}

func (l *log) alerts(t *testing.T) []Alert {
	t.Helper()
	const fields = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status tcp-flags pkt-srcaddr pkt-dstaddr flow-direction\n"
	r, err := analyze.Run(ingest.Text(strings.NewReader(fields+l.String()), "flows.log", ingest.Options{}), analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Sessions.Len() == 0 || len(r.NATGateways) != 1 {
		t.Fatalf("the log has %d sessions and %d NAT gateways: %v", r.Sessions.Len(), len(r.NATGateways), r.Warnings)
	}
	return find(t, r)
}

// Of a log, what the analysis makes of it: a control connection that was
// silent, and one with a server that opens data connections itself.
func TestLogs(t *testing.T) {
	const client, nat, server = "10.0.1.5:40000", "10.0.0.220:20001", "203.0.113.10:21"
	var silent log
	silent.through(client, nat, server, 12, 10, 0, 40, "2")
	silent.through("10.0.1.5:40001", "10.0.0.220:20002", "203.0.113.10:50000", 500, 900, 35, 600, "3")
	for _, iface := range []string{"eni-client", "eni-nat"} { // what follows, and the gateway's RST
		there, back, as, asBack := "egress", "ingress", client+" "+server, server+" "+client
		if iface == "eni-nat" {
			there, back, as, asBack = "ingress", "egress", client+" 10.0.0.220:21", "10.0.0.220:21 "+client
		}
		silent.leg(iface, there, client+" "+server, as, 2, 610, 612, "0")
		silent.leg(iface, back, server+" "+client, asBack, 2, 610, 612, "4")
	}
	var active log
	active.through(client, nat, server, 12, 10, 0, 40, "3")
	active.leg("eni-nat", "ingress", "203.0.113.10:20 10.0.0.220:45678", "203.0.113.10:20 10.0.0.220:45678", 3, 20, 27, "2")

	for _, test := range []struct {
		name string
		log  *log
		want string
	}{
		{"silent", &silent, "silent-control 1"},
		{"active", &active, "active-mode 1"},
	} {
		as := test.log.alerts(t)
		if got := kindsOf(as); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
			continue
		}
		if got := strings.Join(as[0].Clients, ","); got != "10.0.1.5" {
			t.Errorf("%s: the clients are %s", test.name, got)
		}
	}
}
