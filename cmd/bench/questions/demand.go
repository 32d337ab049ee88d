package questions

import (
	"maps"
	"slices"

	"ephemera/ingest/flow"
)

// demand counts accepted records by subnet, protocol and destination port.
type demand struct {
	subnets map[string]string // by interface ID

	numbers map[string]int // of subnet IDs
	byID    []subnetPorts  // by subnet number
	of      []int          // subnet number by interface number
}

// subnetPorts are one subnet's counts.
type subnetPorts struct {
	tcp, udp portCounts
}

// portCounts counts by port: in pages that are made when they are first
// needed, of two bytes a port, so that busy subnets cost 128 KB a protocol.
// What a count loses at 65536 is counted in carries.
type portCounts struct {
	pages   [65536 / pageLen]*[pageLen]uint16
	carries map[uint16]uint64
}

const pageLen = 1024

func (c *portCounts) add(port uint16) {
	page := c.pages[port/pageLen]
	if page == nil {
		page = new([pageLen]uint16)
		c.pages[port/pageLen] = page
	}
	page[port%pageLen]++
	if page[port%pageLen] == 0 {
		c.carry(port)
	}
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
	return &demand{subnets: subnets, numbers: map[string]int{}}
}

// open takes the ID of the interface with the next number, from 0.
func (d *demand) open(interfaceID string) {
	subnet := d.subnets[interfaceID]
	n, known := d.numbers[subnet]
	if !known {
		n = len(d.byID)
		d.numbers[subnet] = n
		d.byID = append(d.byID, subnetPorts{})
	}
	d.of = append(d.of, n)
}

func (d *demand) add(interfaceNumber uint32, r *flow.Record) {
	subnet := &d.byID[d.of[interfaceNumber]]
	switch r.Proto {
	case flow.TCP:
		subnet.tcp.add(r.DstPort)
	case flow.UDP:
		subnet.udp.add(r.DstPort)
	}
}

// write writes demand.csv.
func (d *demand) write(w *csvWriter) {
	w.header("subnet_id,protocol,dstport,records")
	for _, id := range slices.Sorted(maps.Keys(d.numbers)) {
		subnet := &d.byID[d.numbers[id]]
		row := func(p flow.Proto) func(uint16, uint64) {
			return func(port uint16, records uint64) {
				w.text(id)
				w.number(uint64(p))
				w.number(uint64(port))
				w.number(records)
				w.end()
			}
		}
		subnet.tcp.all(row(flow.TCP))
		subnet.udp.all(row(flow.UDP))
	}
}
