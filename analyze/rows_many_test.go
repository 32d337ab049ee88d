package analyze_test

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// manyRejects yields n rejected flows as a long log gives them: some 80 a
// second, nearly in order of time, of a few interfaces, rules and servers.
func manyRejects(n int) iter.Seq[analyze.RejectedFlow] {
	return func(yield func(analyze.RejectedFlow) bool) {
		rng := rand.New(rand.NewPCG(8, 1))
		for i := range n {
			if !yield(someReject(rng, i)) {
				return
			}
		}
	}
}

func someReject(rng *rand.Rand, i int) analyze.RejectedFlow {
	at := about(rng, i)
	k := rng.IntN(40)
	client, server := flow.AddrFrom4(0x0a000200+uint32(k)), flow.AddrFrom4(0xcb007100+rng.Uint32N(60))
	acl, rule := fmt.Sprintf("acl-%017x", k%3), rng.IntN(8)*10
	f := analyze.RejectedFlow{
		InterfaceID: fmt.Sprintf("eni-%017x", k), SubnetID: fmt.Sprintf("subnet-%017x", k%5), Direction: flow.Ingress, Point: analyze.P4,
		SrcAddr: server, DstAddr: client, SrcPort: 443, DstPort: uint16(1024 + rng.IntN(64000)), PktSrcAddr: server, PktDstAddr: client,
		Protocol: 6, Packets: rng.Uint64N(6) + 1, Bytes: rng.Uint64N(300) + 40, Records: 1, Start: at, End: at + analyze.Time(rng.IntN(60)),
		Cause: analyze.CauseNACL, CauseID: acl, RuleNumber: rule, RuleDefault: rule == 0, Confidence: 0.99,
		Evidence: fmt.Sprintf("%s: rule %d deny tcp 1024-65535 from 203.0.113.0/24; security group sg-%017x allows: answers a flow that was accepted", acl, rule, k),
	}
	if k%3 == 0 {
		f.AlsoDeniedBy = []string{acl + " rule *"}
	}
	return f
}

// manyMappings yields n mappings: see manyRejects.
func manyMappings(n int) iter.Seq[analyze.Mapping] {
	return func(yield func(analyze.Mapping) bool) {
		rng := rand.New(rand.NewPCG(8, 2))
		for i := range n {
			if !yield(someMapping(rng, i)) {
				return
			}
		}
	}
}

func someMapping(rng *rand.Rand, i int) analyze.Mapping {
	at := about(rng, i)
	k := rng.IntN(40)
	m := analyze.Mapping{
		Protocol: 6, ClientAddr: flow.AddrFrom4(0x0a000200 + uint32(k)), ClientPort: uint16(32768 + rng.IntN(28000)),
		ServerAddr: flow.AddrFrom4(0xcb007100 + rng.Uint32N(60)), ServerPort: 443, ClientInterface: fmt.Sprintf("eni-%017x", k),
		NATInterface: "eni-0a47000000000002b", NATAddr: flow.AddrFrom4(0x0a000114), NATPort: uint16(1024 + rng.IntN(64000)),
		Start: at, End: at + analyze.Time(rng.IntN(100)), Confidence: 1,
	}
	if rng.IntN(20) == 0 {
		m.Confidence, m.Candidates = 0.5, []string{fmt.Sprintf("10.0.1.20:%d", 1024+rng.IntN(64000))}
	}
	return m
}

// about is the start of the i-th connection to be over.
func about(rng *rand.Rand, i int) analyze.Time {
	return analyze.Time(1_795_370_837 + i/80 - rng.IntN(60))
}
