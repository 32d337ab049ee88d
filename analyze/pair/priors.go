package pair

import (
	_ "embed"
	"encoding/json"
	"math"
	"sync"
)

// Priors are what is known of FTP before the log is read. They are fitted by
// cmd/fit-priors to traffic whose truth is known.
type Priors struct {
	// Plain and Encrypted are the costs of transfers on control connections.
	Plain     TotalsPrior
	Encrypted TotalsPrior
	Times     TimesPrior
	Shapes    ShapesPrior
	// Freedom is the degrees of freedom of the t distribution of totals.
	Freedom float64
	// Foreign is the rate, per second, of connections to a server's high
	// ports that are not FTP, while a control connection is open.
	Foreign float64
	// Stray is how often a connection that looks like FTP is, compared to its
	// odds, although no control connection explains it.
	Stray float64
	// Clumping divides the evidence of aggregation intervals: packets do not
	// come one by one, but some for each command.
	Clumping float64
}

// A TotalsPrior is what the totals of control connections are like.
type TotalsPrior struct {
	// Mean is the mean over servers of what features cost, and Spread their
	// standard deviation between servers.
	Mean, Spread Coefficients
	// Base is the covariance of a control connection's totals without
	// transfers, and Each what each transfer adds.
	Base, Each Matrix
}

// Coefficients are what each feature adds to each total.
type Coefficients [nFeatures]vector

// A Matrix is a covariance of totals.
type Matrix [4]vector

// A TimesPrior is how the times on a control connection are distributed.
type TimesPrior struct {
	// Lead is from the control connection's start to its first transfer, Gap
	// from a transfer's end to the next one's start, Tail from the last one's
	// end to the control connection's; AfterBlocked and TailAfterBlocked are
	// from the start of a blocked one. Life is that of a control connection
	// without transfers.
	Lead, Gap, AfterBlocked, Life, Tail, TailAfterBlocked Histogram
	// First is the probability that there is a transfer, More that there is
	// another after one.
	First, More float64
}

// A Histogram holds the shares of the bins of times, which add up to 1.
type Histogram [bins]float64

func (h Histogram) density() density {
	var d density
	for b, share := range h {
		d[b] = math.Log(share / binWidth(b))
	}
	return d
}

// A ShapesPrior holds how often data connections of plain and of encrypted
// control connections, and connections of other services, have each Shape.
type ShapesPrior struct{ Plain, Encrypted, Other [shapes]float64 }

//go:embed priors.json
var priorsJSON []byte

// DefaultPriors returns the priors that ship with the program.
var DefaultPriors = sync.OnceValue(func() *Priors {
	p := new(Priors)
	if err := json.Unmarshal(priorsJSON, p); err != nil {
		panic("pair: priors.json: " + err.Error())
	}
	return p
})

// StartPriors are what a fit begins with: judgements, wide enough for any
// server.
func StartPriors() *Priors {
	p := &Priors{Freedom: 4, Stray: 0.003, Foreign: 0.05, Clumping: 1.7}
	p.Plain.Mean[featureControl] = vector{10, 8, 60, 200}
	p.Plain.Mean[featureEstablished] = vector{4, 4, 25, 130}
	p.Plain.Mean[featureBlocked] = vector{2, 2, 10, 60}
	for f := range nFeatures {
		p.Plain.Spread[f] = vector{3, 3, 30, 100}
	}
	for i := range 4 {
		p.Plain.Base[i][i] = []float64{4, 4, 400, 2500}[i]
		p.Plain.Each[i][i] = []float64{1, 1, 100, 400}[i]
	}
	p.Encrypted = p.Plain
	p.Encrypted.Mean[featureControl] = vector{16, 14, 800, 4000}
	p.Times.First, p.Times.More = 0.8, 0.6
	for b := range bins {
		for _, h := range []*Histogram{&p.Times.Lead, &p.Times.Gap, &p.Times.AfterBlocked, &p.Times.Life, &p.Times.Tail, &p.Times.TailAfterBlocked} {
			h[b] = 1.0 / bins
		}
	}
	p.Shapes = ShapesPrior{
		Plain: [shapes]float64{.2, .7, .05, .03, .02}, Encrypted: [shapes]float64{.2, .2, .02, .56, .02}, Other: [shapes]float64{.1, .02, .02, .3, .56},
	}
	return p
}
