//go:build real && linux

package picker

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestKernel looks at how the kernel of this machine picks ports, which the
// models and the simulation build on.
func TestKernel(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip(err)
	}
	if f := strings.Fields(string(text)); len(f) != 2 || f[0] != "32768" || f[1] != "60999" {
		t.Skipf("the port range of this machine is %q, not the default", text)
	}
	for _, test := range []struct {
		name      string
		reuse     int
		low, high uint16
	}{
		{"bind", 0, linux.From, linux.To},
		{"bind with SO_REUSEADDR", 1, linuxReuse.From, linuxReuse.To},
	} {
		lowest, highest := uint16(65535), uint16(0)
		for range 500 {
			port := listen(t, test.reuse)
			lowest, highest = min(lowest, port), max(highest, port)
			if port%2 == 0 {
				t.Errorf("%s: port %d is even", test.name, port)
			}
		}
		if lowest < test.low || highest > test.high || int(highest-lowest) < int(test.high-test.low)*9/10 {
			t.Errorf("%s: ports are %d to %d, want nearly %d to %d", test.name, lowest, highest, test.low, test.high)
		}
	}
	testSteps(t, connects(t, 200))
}

// listen returns the port that a listener gets.
func listen(t *testing.T, reuse int) uint16 {
	t.Helper()
	c := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		if e := conn.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, reuse)
		}); e != nil {
			return e
		}
		return err
	}}
	l, err := c.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// connects returns the client's ports of n connections to one server.
func connects(t *testing.T, n int) []uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ports []uint16
	for range n {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, uint16(c.LocalAddr().(*net.TCPAddr).Port))
		c.Close()
		if s, err := l.Accept(); err == nil {
			s.Close()
		}
	}
	return ports
}

// testSteps checks that ports go up by even numbers of 2 to 16, up to the
// end of the range, and further only where others are in the way.
func testSteps(t *testing.T, ports []uint16) {
	t.Helper()
	far := 0
	for i, port := range ports[1:] {
		if up := int(port) - int(ports[i]); up < 2 || up > 16 || up%2 == 1 {
			far++
		}
	}
	if far > len(ports)/10 {
		t.Errorf("%d of %d steps are not even numbers of 2 to 16: ports are %d", far, len(ports)-1, ports)
	}
}
