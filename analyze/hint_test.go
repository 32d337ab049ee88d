package analyze

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// hintTalk takes connections without records.
type hintTalk struct {
	h    *hints
	next uint16
}

func newHintTalk() *hintTalk { return &hintTalk{h: newHints(flagged(21), nil, nil)} }

// session hands on a control connection from start on, and its transfers.
func (k *hintTalk) session(client, server string, port uint16, start int64, transfers int) {
	c := hintConnection{client: mustAddr(client), server: mustAddr(server), start: start, end: start + 100, over: start + 100,
		kind: hintDialogue, serverPort: port, clientPort: 30000, toServer: 50 * transfers, toClient: 200 * transfers, packets: uint64(5 * transfers)}
	k.h.waiting = append(k.h.waiting, c)
	for i := range transfers {
		at := start + int64(10*i)
		k.next++
		k.h.waiting = append(k.h.waiting, hintConnection{client: c.client, server: c.server, start: at, end: at + 5, over: at + 5,
			kind: hintTransfer, serverPort: 50000 + 37*k.next%1000, clientPort: 31000 + k.next%9000, toClient: 9000, packets: 6})
	}
}

func (k *hintTalk) ports() (ports []uint16) {
	for _, x := range k.h.found() {
		ports = append(ports, x.port)
	}
	return ports
}

// Any number of clients and servers is looked at in bounded memory, and what
// is busy among them is found all the same.
func TestHintsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	k := newHintTalk()
	for i := range 3 * heldHints {
		at := int64(i)
		k.session(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), fmt.Sprintf("198.51.%d.%d", i>>8&255, i&255), 2222, at, 0)
		if i%heldOfPair == 0 {
			k.session("10.0.1.5", "203.0.113.10", 2121, at, 4)
		}
		if i%100 == 0 {
			k.h.advance(at)
		}
		if k.h.held > heldHints || len(k.h.evidence) > hintServers {
			t.Fatalf("got %d connections and %d servers, want at most %d and %d", k.h.held, len(k.h.evidence), heldHints, hintServers)
		}
	}
	held := 0
	for _, p := range k.h.pairs {
		held += len(p)
	}
	if held != k.h.held {
		t.Errorf("got %d connections counted, want the %d that there are", k.h.held, held)
	}
	if got := k.ports(); !slices.Equal(got, []uint16{2121}) {
		t.Errorf("got %v, want 2121", got)
	}
}

// Evidence of servers beyond the bound makes room for newer ones.
func TestHintServersAreBounded(t *testing.T) {
	k := newHintTalk()
	for i := range 3 * hintServers {
		server := fmt.Sprintf("198.51.%d.%d", i>>8, i&255)
		k.session("10.0.1.5", server, 2121, int64(1000*i), 4)
		k.session("10.0.1.5", server, 2121, int64(1000*i+200), 4)
		k.h.advance(0)
	}
	found := k.h.found()
	if len(found) != 1 || len(found[0].servers) < hintServers/2 || len(found[0].servers) > hintServers {
		t.Errorf("got %v, want 2121 of %d to %d servers", found, hintServers/2, hintServers)
	}
}

// A client and server with more connections than are held at once.
func TestHintsOfABusyPair(t *testing.T) {
	k := newHintTalk()
	for i := range int64(2000) {
		k.session("10.0.1.5", "203.0.113.10", 2121, 150*i, 4)
		k.h.advance(0)
		if n := len(k.h.pairs[pairKey{mustAddr("10.0.1.5"), mustAddr("203.0.113.10")}]); n > heldOfPair {
			t.Fatalf("got %d connections held, want at most %d", n, heldOfPair)
		}
	}
	found := k.h.found()
	if len(found) != 1 || found[0].inside != 8000 || found[0].transfers != 8000 {
		t.Errorf("got %+v, want 8000 transfers, all of them inside", found)
	}
}

// A client with dialogues and transfers on as many ports of a server as it can
// have costs no more than a moment.
func TestHintsAmongManyPorts(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	k := newHintTalk()
	a, b := mustAddr("10.0.1.5"), mustAddr("203.0.113.10")
	for i := range 20 * heldOfPair {
		k.h.waiting = append(k.h.waiting, hintConnection{client: a, server: b, start: int64(i / 4), end: int64(i/4 + 900), over: int64(i/4 + 900),
			kind: hintDialogue | hintTLS, encrypted: true, serverPort: uint16(1024 + i*37%60000), clientPort: uint16(1024 + i%60000), toServer: 1, toClient: 1, packets: 1})
	}
	began := time.Now()
	k.h.advance(0)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("got %v for %d connections, want less than 10 s", d, 20*heldOfPair)
	}
	if got := k.ports(); got != nil {
		t.Errorf("got %v, want none", got)
	}
}

// Counts of a port stop at their largest value.
func TestPortTallyDoesNotWrap(t *testing.T) {
	var tally portTally
	for range 1 << 17 {
		tally.add(hintConnection{kind: hintTransfer, serverPort: 50000})
	}
	if got := tally[inTheClear][50000%256]; got != 65535 {
		t.Errorf("got %d, want 65535", got)
	}
}
