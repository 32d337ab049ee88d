package analyze

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Ports that are used again within minutes are told apart, by TCP flags or
// by what the other side of the NAT gateway shows.
func TestReusedPorts(t *testing.T) {
	play(t, []scenario{
		{
			name: "the NAT gateway's, for another client",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.1.6:41000 > 10.0.0.220:20001 > 203.0.113.10:21 9p/700b 8p/600b 250..270",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.6:41000 = 10.0.0.220:20001"},
		},
		{
			name: "the NAT gateway's, for the same client and three times",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.1.5:40002 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 200..230",
				"10.0.1.5:40004 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 500..530",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40002 = 10.0.0.220:20001", "map 10.0.1.5:40004 = 10.0.0.220:20001"},
		},
		{
			name: "the client's",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.1.5:40000 > 10.0.0.220:20007 > 203.0.113.10:21 9p/700b 8p/600b 250..270",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40000 = 10.0.0.220:20007"},
		},
		{
			name: "the client's, towards another server",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.1.5:40000 > 10.0.0.220:20007 > 203.0.113.11:21 9p/700b 8p/600b 250..270",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40000 = 10.0.0.220:20007"},
		},
		{
			name: "one by the gateway, then one by the client",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.1.6:41000 > 10.0.0.220:20001 > 203.0.113.10:21 9p/700b 8p/600b 250..270",
				"10.0.1.6:41000 > 10.0.0.220:20003 > 203.0.113.10:21 19p/1700b 8p/600b 400..490",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.6:41000 = 10.0.0.220:20001", "map 10.0.1.6:41000 = 10.0.0.220:20003"},
		},
		{
			name:  "a pause is no end",
			calls: []string{"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130,300..310,500..510"},
			want:  []string{"map 10.0.1.5:40000 = 10.0.0.220:20001"},
		},
	})
}

// A client may have one port towards two servers. Without pkt-* fields the
// inside of the NAT gateway shows no server, and only the counts tell them
// apart; where these are equal, nothing does.
func TestOnePortTowardsTwoServers(t *testing.T) {
	play(t, []scenario{{
		name: "other counts",
		calls: []string{
			"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
			"10.0.1.5:40001 > 10.0.0.220:20002 > 203.0.113.11:21 12p/780b 10p/950b 101..130",
			"10.0.1.5:40000 > 10.0.0.220:20003 > 203.0.113.11:21 12p/800b 11p/910b 500..530 begun",
		},
		want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.1.5:40001 = 10.0.0.220:20002", "map 10.0.1.5:40000 = 10.0.0.220:20003"},
	}})
}

// A connection goes through the gateway of its subnet's route, also where the
// records of the gateway's inside are lost.
func TestSeveralGateways(t *testing.T) {
	two := []string{
		"subnet subnet-private2 10.0.2.0/24 acl-private", "subnet subnet-public2 10.0.3.0/24 acl-public",
		"eni eni-10.0.2.5 10.0.2.5 subnet-private2 sg-client",
		"nat nat-2 eni-nat2 10.0.0.230 subnet-public2", "route subnet-private2 0.0.0.0/0 nat-2",
	}
	play(t, []scenario{
		{
			name: "each its own", net: two,
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.2.5:40000 > 10.0.0.230:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.2.5:40000 = 10.0.0.230:20001"},
		},
		{
			name: "without the inside the route decides", net: two,
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130 without P2,P5",
				"10.0.2.5:40000 > 10.0.0.230:20009 > 203.0.113.10:21 12p/800b 10p/900b 100..130 without P2,P5",
			},
			want: []string{"map 10.0.1.5:40000 = 10.0.0.220:20001", "map 10.0.2.5:40000 = 10.0.0.230:20009"},
		},
		{
			name: "nothing decides within one gateway",
			calls: []string{
				"10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
				"10.0.1.6:40000 > 10.0.0.220:20009 > 203.0.113.10:21 12p/800b 10p/900b 100..130",
			},
			want: []string{
				"map 10.0.1.5:40000 = 10.0.0.220:20001 unsure, or 10.0.0.220:20009",
				"map 10.0.1.6:40000 = 10.0.0.220:20009 unsure, or 10.0.0.220:20001",
			},
		},
	})
}

// A burst of equal connections is matched in bounded time; that nothing tells
// them apart is said; and the order of the records changes nothing.
func TestBurstOfEqualConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	const n = 3200
	inFormats(t, func(t *testing.T, f logFormat) {
		var lines []string
		for k := range n {
			at := 100 + k/400 // 400 a second, of two clients
			lines = append(lines, fmt.Sprintf("10.0.1.%d:%d > 10.0.0.220:%d > 203.0.113.10:21 9p/600b 11p/900b %d..%d",
				5+k%2, 20000+k/2, 2000+(k*7919)%n*9, at, at+3))
		}
		rs := calls(f, lines...)
		begin := time.Now()
		r := analysed(t, rs, Options{Network: network(t)})
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		got := 0
		for m := range r.Mappings.All() {
			got++
			if m.Confidence > 1.2/400 || m.Confidence < 0.8/400 || len(m.Candidates) != maxOthers+1 || m.Candidates[maxOthers] != "391 more" {
				t.Fatalf("confidence %v, candidates %v; want one in 400", m.Confidence, m.Candidates)
			}
		}
		if got != n {
			t.Errorf("%d mappings, want %d", got, n)
		}
		want := asJSON(t, r)
		rng := rand.New(rand.NewPCG(8, 1))
		rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		if again := asJSON(t, analysed(t, rs, Options{Network: network(t)})); again != want {
			t.Errorf("another order, another result: %s", firstDifference(again, want))
		}
	})
}
