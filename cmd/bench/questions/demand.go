package questions

import (
	"maps"
	"slices"

	"ephemera/ingest/flow"
)

// demand counts accepted records by subnet, protocol and destination port.
type demand struct {
	subnets map[string]string // by interface ID

	byID        map[string]*subnetPorts
	byInterface []*subnetPorts // by interface number

	// Counts are megabytes, and adding to one waits for the memory. So ports
	// wait in a batch: then the misses overlap.
	batch   [batchLen]waitingPort
	waiting int
}

// waitingPort is a port to count, and its page.
type waitingPort struct {
	counts *portCounts
	page   *portPage
	port   uint16
}

// subnetPorts are one subnet's counts.
type subnetPorts struct {
	tcp, udp portCounts
}

// portCounts counts by port: in pages that are made when they are first
// needed, of two bytes a port, so that busy subnets cost 128 KB a protocol.
// What a count loses at 65536 is counted in carries.
type portCounts struct {
	pages   [65536 / pageLen]*portPage
	carries map[uint16]uint64
}

type portPage [pageLen]uint16

const pageLen = 1024

// page returns the page of a port.
func (c *portCounts) page(port uint16) *portPage {
	at := &c.pages[port/pageLen]
	if *at == nil {
		*at = new(portPage)
	}
	return *at
}

func (c *portCounts) carry(port uint16) {
	if c.carries == nil {
		c.carries = map[uint16]uint64{}
	}
	c.carries[port]++
}

// all calls yield for each port that was counted, in order.
func (c *portCounts) all(yield func(port uint16, records uint64)) {
	for i, page := range c.pages {
		if page == nil {
			continue
		}
		for j, n := range page {
			port := uint16(i*pageLen + j)
			if records := uint64(n) + c.carries[port]<<16; records > 0 {
				yield(port, records)
			}
		}
	}
}

func newDemand(subnets map[string]string) *demand {
	return &demand{subnets: subnets, byID: map[string]*subnetPorts{}}
}

// open takes the ID of the interface with the next number, from 0.
func (d *demand) open(interfaceID string) {
	id := d.subnets[interfaceID]
	subnet := d.byID[id]
	if subnet == nil {
		subnet = new(subnetPorts)
		d.byID[id] = subnet
	}
	d.byInterface = append(d.byInterface, subnet)
}

func (d *demand) add(interfaceNumber uint32, r *flow.Record) {
	subnet := d.byInterface[interfaceNumber]
	switch r.Proto {
	case flow.TCP:
		d.count(&subnet.tcp, r.DstPort)
	case flow.UDP:
		d.count(&subnet.udp, r.DstPort)
	}
}

func (d *demand) count(c *portCounts, port uint16) {
	if d.waiting == batchLen {
		d.flush()
	}
	d.batch[d.waiting] = waitingPort{c, c.page(port), port}
	d.waiting++
}

// flush counts what waits.
func (d *demand) flush() {
	for i := range d.batch[:d.waiting] {
		w := &d.batch[i]
		n := &w.page[w.port%pageLen]
		*n++
		if *n == 0 {
			w.counts.carry(w.port)
		}
	}
	d.waiting = 0
}

// write writes demand.csv.
func (d *demand) write(w *csvWriter) {
	d.flush()
	w.header("subnet_id,protocol,dstport,records")
	for _, id := range slices.Sorted(maps.Keys(d.byID)) {
		row := func(p flow.Proto) func(uint16, uint64) {
			return func(port uint16, records uint64) {
				w.text(id)
				w.number(uint64(p))
				w.number(uint64(port))
				w.number(records)
				w.end()
			}
		}
		d.byID[id].tcp.all(row(flow.TCP))
		d.byID[id].udp.all(row(flow.UDP))
	}
}
