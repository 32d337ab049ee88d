package deployed

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// VPCsOf returns the VPCs, sorted, in which network interfaces, subnets and
// NAT gateways lie, given by their IDs in any mixture; a VPC's ID is itself.
// Gone are the IDs, sorted, that EC2 does not show: deleted since, or of
// another account or region, or of no such kind.
func VPCsOf(ctx context.Context, api API, ids []string, timeout time.Duration) (vpcs, gone []string, err error) {
	c := calls{api: api, timeout: timeout}
	of := map[string]string{} // VPC, by ID
	kinds := map[string][]string{}
	for _, id := range ids {
		kind, _, _ := strings.Cut(id, "-")
		kinds[kind] = append(kinds[kind], id)
	}
	for _, id := range kinds["vpc"] {
		of[id] = id
	}
	var interfaces []types.NetworkInterface
	var subnets []types.Subnet
	var gateways []types.NatGateway
	s := &Snapshot{}
	err = s.read(ctx,
		required(&interfaces, filtered("network-interface-id", kinds["eni"]), c.networkInterfaces),
		required(&subnets, filtered("subnet-id", kinds["subnet"]), c.subnets),
		required(&gateways, filtered("nat-gateway-id", kinds["nat"]), c.natGateways),
	)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range interfaces {
		of[text(i.NetworkInterfaceId)] = text(i.VpcId)
	}
	for _, n := range subnets {
		of[text(n.SubnetId)] = text(n.VpcId)
	}
	for _, g := range gateways {
		of[text(g.NatGatewayId)] = text(g.VpcId)
	}
	for _, id := range ids {
		if of[id] == "" {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	vpcs = slices.Compact(slices.Sorted(maps.Values(of)))
	return slices.DeleteFunc(vpcs, func(id string) bool { return id == "" }), slices.Compact(gone), nil
}
