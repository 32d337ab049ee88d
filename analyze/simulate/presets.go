package simulate

import (
	"math/rand/v2"
	"time"
)

// A Preset is a situation with a name. Its Config lacks the seed.
type Preset struct {
	Name   string
	Config Config
}

// Presets returns situations that differ in what makes the analysis hard.
func Presets() []Preset {
	return []Preset{
		{"quiet pollers", Config{
			Rich: true, Clients: 6, Servers: 4, Sessions: 250, Cron: 0.9, Transfers: 2, Decoys: 0.5, Scans: 0.2, TLS: 0.3,
		}},
		{"parallel mirror", Config{
			Rich: true, Clients: 2, Servers: 3, Sessions: 200, Parallelism: 6, All: true, Transfers: 12, Size: 200_000, Decoys: 0.3, Scans: 0.2,
			Think: 20 * time.Millisecond, Systems: []System{Linux},
		}},
		{"busy lab", Config{
			Rich: true, Duration: 15 * time.Minute, Clients: 5, Servers: 3, Sessions: 350, Parallelism: 6, Transfers: 4, Size: 15_000,
			Think: 30 * time.Millisecond, RTT: 4 * time.Millisecond, Decoys: 0.5, Scans: 0.3, TLS: 0.3,
		}},
		{"long sessions", Config{
			Rich: true, Duration: 3 * time.Hour, Clients: 4, Servers: 3, Sessions: 120, Parallelism: 4, Transfers: 15, Think: 15 * time.Second,
			Size: 3e6, Rate: 400_000, Idle: 0.15, Decoys: 1, Scans: 0.3, TLS: 0.4,
		}},
		{"brute force", Config{
			Rich: true, Clients: 4, Servers: 2, Sessions: 900, Parallelism: 3, BruteForce: 3, Decoys: 0.2, Scans: 0.3, TLS: 0.2,
		}},
		{"windows and IIS", Config{
			Rich: true, Clients: 5, Servers: 3, Sessions: 250, Parallelism: 5, Transfers: 5, Think: time.Second, TLS: 0.4, Active: 0.15, Decoys: 0.5, Scans: 0.2,
			Systems: []System{Windows}, Daemons: []Daemon{IIS, FileZillaServer},
		}},
		{"transfer family", Config{
			Rich: true, Clients: 4, Servers: 2, Sessions: 250, Parallelism: 3, TLS: 0.7, Decoys: 0.4, Scans: 0.2, Daemons: []Daemon{TransferFamily},
		}},
		{"blocked replies", Config{
			Rich: true, Clients: 5, Servers: 4, Sessions: 250, Parallelism: 4, BlockedReplies: 0.2, BlockedPassive: 0.2, Active: 0.1, Decoys: 0.5, Scans: 0.3, TLS: 0.2,
		}},
		{"lossy log", Config{
			Rich: true, Clients: 5, Servers: 3, Sessions: 250, Parallelism: 4, Loss: 0.03, Late: time.Minute, PacketLoss: 0.01, NATGateways: 2, NATAddresses: 2,
			Decoys: 0.5, Scans: 0.3, TLS: 0.3,
		}},
		{"ten-minute windows", Config{
			Rich: true, Duration: 2 * time.Hour, Clients: 5, Servers: 3, Sessions: 300, Parallelism: 4, Window: 10 * time.Minute, Think: 2 * time.Second,
			Decoys: 0.5, Scans: 0.3, TLS: 0.3,
		}},
		{"default format", Config{
			Clients: 5, Servers: 3, Sessions: 300, Parallelism: 4, NATAddresses: 2, Active: 0.1, Decoys: 0.5, Scans: 0.3, TLS: 0.3,
		}},
		{"IPv6", Config{
			Rich: true, Clients: 6, Servers: 3, Sessions: 300, Parallelism: 4, IPv6: 0.7, Decoys: 0.5, Scans: 0.2, TLS: 0.3,
		}},
	}
}

// Anything returns a situation in which everything is drawn by the seed, the
// one of the Config too: what holds for the presets alone does not hold here.
func Anything(seed uint64) Config {
	rnd := rand.New(rand.NewPCG(seed, 0x616e797468696e67))
	n := func(lo, hi int) int { return lo + rnd.IntN(hi-lo+1) }
	now := func(p, most float64) float64 { // 0, but with the probability p
		if rnd.Float64() < p {
			return most * rnd.Float64()
		}
		return 0
	}
	c := Config{
		Seed: seed, Duration: time.Duration(n(20, 150)) * time.Minute, Clients: n(1, 9), Servers: n(1, 6), Sessions: n(80, 350),
		Parallelism: n(1, 7), All: rnd.Float64() < 0.2, Cron: now(0.5, 1), Transfers: 1 + 9*rnd.Float64()*rnd.Float64(),
		Think: time.Duration(10*rnd.ExpFloat64()*rnd.ExpFloat64()*float64(time.Second)) + time.Millisecond,
		Size:  1e3 * float64(n(1, 1000)), Rate: 1e5 * float64(n(1, 200)), RTT: time.Duration(n(2, 200)) * time.Millisecond,
		Window: time.Minute, Rich: rnd.Float64() < 0.75, NATGateways: n(1, 2), NATAddresses: n(1, 2), PacketLoss: now(0.5, 0.02),
		Loss: now(0.2, 0.05), Late: time.Duration(now(0.2, 60) * float64(time.Second)), Decoys: rnd.Float64(), Scans: now(0.7, 0.5),
		BruteForce: int(now(0.2, 3)), BlockedReplies: now(0.2, 0.4), BlockedPassive: now(0.2, 0.4),
		TLS: rnd.Float64(), Active: now(0.4, 0.2), Idle: now(0.4, 0.3), IPv6: now(0.2, 0.5),
	}
	if rnd.Float64() < 0.2 {
		c.Window = 10 * time.Minute
	}
	return c
}
