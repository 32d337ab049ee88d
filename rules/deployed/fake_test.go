package deployed

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// fake is an EC2 of a few lists, in small pages. It knows the filters that
// Read uses, and fails on others.
type fake struct {
	Snapshot
	perPage int              // 0: all at once
	errs    map[string]error // by call
	endless string           // the call whose pages do not end
	hang    map[string]bool  // calls that answer only when they are cancelled

	lock  sync.Mutex
	made  map[string]int // calls, by name; every page is one
	widen int32          // largest MaxResults seen
}

func denied(message string) error {
	return &smithy.GenericAPIError{Code: "UnauthorizedOperation", Message: message}
}

// page notes a call, and cuts its page from a list.
func page[T any](ctx context.Context, f *fake, name string, list []T, token *string, size *int32) ([]T, *string, error) {
	f.lock.Lock()
	if f.made == nil {
		f.made = map[string]int{}
	}
	f.made[name]++
	calls := f.made[name]
	f.widen = max(f.widen, aws.ToInt32(size))
	f.lock.Unlock()
	if f.hang[name] {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	if err := f.errs[name]; err != nil {
		return nil, nil, err
	}
	if f.endless == name {
		return nil, aws.String(strconv.Itoa(calls)), nil
	}
	if f.perPage == 0 {
		return list, nil, nil
	}
	if token == nil { // the first page is empty, and says that there are more
		return nil, aws.String("0"), nil
	}
	from, err := strconv.Atoi(*token)
	if err != nil {
		return nil, nil, err
	}
	to := min(from+f.perPage, len(list))
	if to == len(list) {
		return list[from:], nil, nil
	}
	return list[from:to], aws.String(strconv.Itoa(to)), nil
}

// matching keeps what fits all filters; values maps a filter's name to the
// values that an item has for it.
func matching[T any](list []T, filters []types.Filter, values func(T, string) []string) []T {
	var kept []T
	for _, x := range list {
		fits := true
		for _, f := range filters {
			has := values(x, aws.ToString(f.Name))
			fits = fits && slices.ContainsFunc(has, func(v string) bool { return slices.Contains(f.Values, v) })
		}
		if fits {
			kept = append(kept, x)
		}
	}
	return kept
}

// of returns the value of the one filter that has the name, for matching.
func of(pairs map[string]*string) func(string) []string {
	return func(name string) []string {
		p, known := pairs[name]
		if !known {
			panic("no filter " + name)
		}
		return []string{aws.ToString(p)}
	}
}

func (f *fake) DescribeNetworkAcls(ctx context.Context, in *ec2.DescribeNetworkAclsInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkAclsOutput, error) {
	list := matching(f.NetworkACLs, in.Filters, func(x types.NetworkAcl, name string) []string {
		return of(map[string]*string{"vpc-id": x.VpcId})(name)
	})
	got, next, err := page(ctx, f, "DescribeNetworkAcls", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeNetworkAclsOutput{NetworkAcls: got, NextToken: next}, err
}

func (f *fake) DescribeSecurityGroups(ctx context.Context, in *ec2.DescribeSecurityGroupsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	list := matching(f.SecurityGroups, in.Filters, func(x types.SecurityGroup, name string) []string {
		return of(map[string]*string{"vpc-id": x.VpcId, "group-id": x.GroupId})(name)
	})
	got, next, err := page(ctx, f, "DescribeSecurityGroups", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: got, NextToken: next}, err
}

func (f *fake) DescribeNetworkInterfaces(ctx context.Context, in *ec2.DescribeNetworkInterfacesInput, _ ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error) {
	list := matching(f.NetworkInterfaces, in.Filters, func(x types.NetworkInterface, name string) []string {
		if name == "group-id" {
			var ids []string
			for _, g := range x.Groups {
				ids = append(ids, aws.ToString(g.GroupId))
			}
			return ids
		}
		return of(map[string]*string{"vpc-id": x.VpcId, "network-interface-id": x.NetworkInterfaceId})(name)
	})
	got, next, err := page(ctx, f, "DescribeNetworkInterfaces", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: got, NextToken: next}, err
}

func (f *fake) DescribeSubnets(ctx context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	list := matching(f.Subnets, in.Filters, func(x types.Subnet, name string) []string {
		return of(map[string]*string{"vpc-id": x.VpcId, "subnet-id": x.SubnetId})(name)
	})
	got, next, err := page(ctx, f, "DescribeSubnets", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeSubnetsOutput{Subnets: got, NextToken: next}, err
}

func (f *fake) DescribeNatGateways(ctx context.Context, in *ec2.DescribeNatGatewaysInput, _ ...func(*ec2.Options)) (*ec2.DescribeNatGatewaysOutput, error) {
	list := matching(f.NATGateways, in.Filter, func(x types.NatGateway, name string) []string {
		return of(map[string]*string{"vpc-id": x.VpcId, "nat-gateway-id": x.NatGatewayId})(name)
	})
	got, next, err := page(ctx, f, "DescribeNatGateways", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeNatGatewaysOutput{NatGateways: got, NextToken: next}, err
}

func (f *fake) DescribeRouteTables(ctx context.Context, in *ec2.DescribeRouteTablesInput, _ ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error) {
	list := matching(f.RouteTables, in.Filters, func(x types.RouteTable, name string) []string {
		return of(map[string]*string{"vpc-id": x.VpcId})(name)
	})
	got, next, err := page(ctx, f, "DescribeRouteTables", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeRouteTablesOutput{RouteTables: got, NextToken: next}, err
}

func (f *fake) DescribeFlowLogs(ctx context.Context, in *ec2.DescribeFlowLogsInput, _ ...func(*ec2.Options)) (*ec2.DescribeFlowLogsOutput, error) {
	list := matching(f.FlowLogs, in.Filter, func(_ types.FlowLog, name string) []string { return of(nil)(name) })
	got, next, err := page(ctx, f, "DescribeFlowLogs", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeFlowLogsOutput{FlowLogs: got, NextToken: next}, err
}

func (f *fake) DescribeManagedPrefixLists(ctx context.Context, in *ec2.DescribeManagedPrefixListsInput, _ ...func(*ec2.Options)) (*ec2.DescribeManagedPrefixListsOutput, error) {
	list := matching(f.PrefixLists, in.Filters, func(x types.ManagedPrefixList, name string) []string {
		return of(map[string]*string{"prefix-list-id": x.PrefixListId})(name)
	})
	got, next, err := page(ctx, f, "DescribeManagedPrefixLists", list, in.NextToken, in.MaxResults)
	return &ec2.DescribeManagedPrefixListsOutput{PrefixLists: got, NextToken: next}, err
}

func (f *fake) GetManagedPrefixListEntries(ctx context.Context, in *ec2.GetManagedPrefixListEntriesInput, _ ...func(*ec2.Options)) (*ec2.GetManagedPrefixListEntriesOutput, error) {
	list, known := f.PrefixListEntries[aws.ToString(in.PrefixListId)]
	if !known {
		return nil, &smithy.GenericAPIError{Code: "InvalidPrefixListID.NotFound", Message: "does not exist"}
	}
	got, next, err := page(ctx, f, "GetManagedPrefixListEntries", list, in.NextToken, in.MaxResults)
	return &ec2.GetManagedPrefixListEntriesOutput{Entries: got, NextToken: next}, err
}
