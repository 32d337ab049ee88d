package cli

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// traffic makes the flow logs of a network like that of testdata/article:
// clients that fetch files by FTP and pages by HTTPS through a NAT gateway,
// now and then stopped, and scanners. It is the same traffic every hour.
type traffic struct {
	perHour int       // connections, of which one in twenty is an FTP control connection
	begin   time.Time // trafficBegin if zero
}

const trafficHeader = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status " +
	"vpc-id subnet-id tcp-flags pkt-srcaddr pkt-dstaddr flow-direction"

var trafficBegin = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

const trafficStep = 300 // seconds of an object

// object makes the lines of the n-th five minutes.
func (g traffic) object(n int) []string {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	w := &trafficWriter{rng: rng}
	begin := g.at(n).Unix()
	for i := range g.perHour * trafficStep / 3600 {
		at := begin + rng.Int64N(trafficStep-40)
		client := fmt.Sprintf("10.0.1.%d", 4+rng.IntN(60))
		switch {
		case i%20 == 0:
			server := fmt.Sprintf("203.0.113.%d", 10+rng.IntN(3))
			w.connection(client, server, 21, at, 30, 20, 18, "ACCEPT")
			for k := range rng.Int64N(3) {
				w.connection(client, server, 50000+rng.IntN(100), at+3+8*k, 5, 8, 20, "ACCEPT")
			}
		case i%33 == 0:
			w.connection(client, "203.0.113.10", 50000+rng.IntN(100), at, 7, 3, 0, "REJECT")
		default:
			w.connection(client, fmt.Sprintf("198.51.100.%d", rng.IntN(200)), 443, at, rng.Int64N(30), 9+rng.IntN(40), 20, "ACCEPT")
		}
	}
	rng.Shuffle(len(w.lines), func(i, j int) { w.lines[i], w.lines[j] = w.lines[j], w.lines[i] })
	return w.lines
}

type trafficWriter struct {
	rng   *rand.Rand
	lines []string
}

// connection writes what the client's interface and the NAT gateway's log of
// one connection.
func (w *trafficWriter) connection(client, server string, port int, start, length int64, up, down int, verdict string) {
	cport, nport := 32768+w.rng.IntN(28232), 1024+w.rng.IntN(64512)
	const nat = "10.0.0.220"
	eni := "eni-" + strings.ReplaceAll(client, ".", "")
	add := func(eni, subnet, src, dst string, sport, dport, packets, flags int, pktSrc, pktDst, direction, action string) {
		w.lines = append(w.lines, fmt.Sprintf("5 123456789012 %s %s %s %d %d 6 %d %d %d %d %s OK vpc-0a %s %d %s %s %s",
			eni, src, dst, sport, dport, packets, packets*(60+port%40), start, start+length, action, subnet, flags, pktSrc, pktDst, direction))
	}
	add(eni, "subnet-private", client, server, cport, port, up, 3, client, server, "egress", verdict)
	if verdict == "REJECT" {
		return
	}
	add("eni-nat", "subnet-public", client, nat, cport, port, up, 3, client, server, "ingress", "ACCEPT")
	add("eni-nat", "subnet-public", nat, server, nport, port, up, 3, nat, server, "egress", "ACCEPT")
	add("eni-nat", "subnet-public", server, nat, port, nport, down, 19, server, nat, "ingress", "ACCEPT")
	add("eni-nat", "subnet-public", nat, client, port, cport, down, 19, server, client, "egress", "ACCEPT")
	add(eni, "subnet-private", server, client, port, cport, down, 19, server, client, "ingress", "ACCEPT")
}

// at is the time at which the n-th object begins.
func (g traffic) at(n int) time.Time {
	begin := g.begin
	if begin.IsZero() {
		begin = trafficBegin
	}
	return begin.Add(time.Duration(n) * trafficStep * time.Second)
}

// key names the n-th object as AWS does, in the plain layout.
func (g traffic) key(n int) string {
	at := g.at(n)
	return fmt.Sprintf("AWSLogs/123456789012/vpcflowlogs/eu-west-1/%s/123456789012_vpcflowlogs_eu-west-1_fl-0a1_%s_%08x.log.gz",
		at.Format("2006/01/02"), at.Format("20060102T1504Z"), n)
}

// write writes the objects of some hours below dir.
func (g traffic) write(t testing.TB, dir string, hours int) {
	t.Helper()
	for n := range hours * 3600 / trafficStep {
		writeFile(t, filepath.Join(dir, filepath.FromSlash(g.key(n))), asText(t, g.object(n)))
	}
}

// asText is an object of text as AWS delivers it.
func asText(t testing.TB, lines []string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprintln(z, trafficHeader)
	for _, line := range lines {
		fmt.Fprintln(z, line)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeFile(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
