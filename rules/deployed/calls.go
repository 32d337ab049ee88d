package deployed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// calls makes the calls of API, all pages of each.
type calls struct {
	api     API
	timeout time.Duration
}

// A scope is the filters of one call.
type scope []types.Filter

// everything is the one scope without filters.
var everything = []scope{nil}

// Limits of the EC2 API. Source: EC2 API Reference, MaxResults of each call,
// and "Filters": at most 200 values a filter.
const (
	pageSize      = 1000
	smallPageSize = 100 // of route tables, and of prefix lists and their entries
	filterValues  = 200

	// maxPages stops a server that does not come to an end. An account has
	// at most some thousand of anything here, unless AWS raised its quotas.
	maxPages = 5000

	defaultTimeout = 2 * time.Minute
)

// inVPCs returns the scopes that hold all of the VPCs.
func inVPCs(ids []string) []scope {
	if len(ids) == 0 {
		return everything
	}
	return filtered("vpc-id", ids)
}

// filtered returns the scopes of what has one of the values. Other than a
// list of IDs, a filter does not fail a call for what is not there.
func filtered(name string, values []string) []scope {
	var scopes []scope
	for chunk := range slices.Chunk(values, filterValues) {
		scopes = append(scopes, scope{{Name: aws.String(name), Values: chunk}})
	}
	return scopes
}

func (c calls) networkACLs(ctx context.Context, scopes []scope) ([]types.NetworkAcl, error) {
	return all(ctx, c, "DescribeNetworkAcls", scopes, func(f scope) pager[ec2.DescribeNetworkAclsOutput] {
		return ec2.NewDescribeNetworkAclsPaginator(c.api, &ec2.DescribeNetworkAclsInput{Filters: f, MaxResults: aws.Int32(pageSize)})
	}, func(o *ec2.DescribeNetworkAclsOutput) []types.NetworkAcl { return o.NetworkAcls })
}

func (c calls) securityGroups(ctx context.Context, scopes []scope) ([]types.SecurityGroup, error) {
	return all(ctx, c, "DescribeSecurityGroups", scopes, func(f scope) pager[ec2.DescribeSecurityGroupsOutput] {
		return ec2.NewDescribeSecurityGroupsPaginator(c.api, &ec2.DescribeSecurityGroupsInput{Filters: f, MaxResults: aws.Int32(pageSize)})
	}, func(o *ec2.DescribeSecurityGroupsOutput) []types.SecurityGroup { return o.SecurityGroups })
}

func (c calls) networkInterfaces(ctx context.Context, scopes []scope) ([]types.NetworkInterface, error) {
	return all(ctx, c, "DescribeNetworkInterfaces", scopes, func(f scope) pager[ec2.DescribeNetworkInterfacesOutput] {
		return ec2.NewDescribeNetworkInterfacesPaginator(c.api, &ec2.DescribeNetworkInterfacesInput{Filters: f, MaxResults: aws.Int32(pageSize)})
	}, func(o *ec2.DescribeNetworkInterfacesOutput) []types.NetworkInterface { return o.NetworkInterfaces })
}

func (c calls) subnets(ctx context.Context, scopes []scope) ([]types.Subnet, error) {
	return all(ctx, c, "DescribeSubnets", scopes, func(f scope) pager[ec2.DescribeSubnetsOutput] {
		return ec2.NewDescribeSubnetsPaginator(c.api, &ec2.DescribeSubnetsInput{Filters: f, MaxResults: aws.Int32(pageSize)})
	}, func(o *ec2.DescribeSubnetsOutput) []types.Subnet { return o.Subnets })
}

func (c calls) natGateways(ctx context.Context, scopes []scope) ([]types.NatGateway, error) {
	return all(ctx, c, "DescribeNatGateways", scopes, func(f scope) pager[ec2.DescribeNatGatewaysOutput] {
		return ec2.NewDescribeNatGatewaysPaginator(c.api, &ec2.DescribeNatGatewaysInput{Filter: f, MaxResults: aws.Int32(pageSize)})
	}, func(o *ec2.DescribeNatGatewaysOutput) []types.NatGateway { return o.NatGateways })
}

func (c calls) routeTables(ctx context.Context, scopes []scope) ([]types.RouteTable, error) {
	return all(ctx, c, "DescribeRouteTables", scopes, func(f scope) pager[ec2.DescribeRouteTablesOutput] {
		return ec2.NewDescribeRouteTablesPaginator(c.api, &ec2.DescribeRouteTablesInput{Filters: f, MaxResults: aws.Int32(smallPageSize)})
	}, func(o *ec2.DescribeRouteTablesOutput) []types.RouteTable { return o.RouteTables })
}

func (c calls) flowLogs(ctx context.Context, scopes []scope) ([]types.FlowLog, error) {
	return all(ctx, c, "DescribeFlowLogs", scopes, func(f scope) pager[ec2.DescribeFlowLogsOutput] {
		return ec2.NewDescribeFlowLogsPaginator(c.api, &ec2.DescribeFlowLogsInput{Filter: f, MaxResults: aws.Int32(pageSize)})
	}, func(o *ec2.DescribeFlowLogsOutput) []types.FlowLog { return o.FlowLogs })
}

func (c calls) prefixLists(ctx context.Context, scopes []scope) ([]types.ManagedPrefixList, error) {
	return all(ctx, c, "DescribeManagedPrefixLists", scopes, func(f scope) pager[ec2.DescribeManagedPrefixListsOutput] {
		return ec2.NewDescribeManagedPrefixListsPaginator(c.api, &ec2.DescribeManagedPrefixListsInput{Filters: f, MaxResults: aws.Int32(smallPageSize)})
	}, func(o *ec2.DescribeManagedPrefixListsOutput) []types.ManagedPrefixList { return o.PrefixLists })
}

func (c calls) prefixListEntries(ctx context.Context, id string) ([]types.PrefixListEntry, error) {
	return all(ctx, c, "GetManagedPrefixListEntries", everything, func(scope) pager[ec2.GetManagedPrefixListEntriesOutput] {
		return ec2.NewGetManagedPrefixListEntriesPaginator(c.api, &ec2.GetManagedPrefixListEntriesInput{PrefixListId: aws.String(id), MaxResults: aws.Int32(smallPageSize)})
	}, func(o *ec2.GetManagedPrefixListEntriesOutput) []types.PrefixListEntry { return o.Entries })
}

// A pager is one of the SDK's paginators.
type pager[Page any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*ec2.Options)) (*Page, error)
}

// all returns the items of all pages, of one call a scope; none is an empty
// list, not nil. An error is a *CallError.
func all[Page, Item any](ctx context.Context, c calls, name string, scopes []scope,
	open func(scope) pager[Page], items func(*Page) []Item,
) ([]Item, error) {
	list := []Item{}
	for _, s := range scopes {
		pages := open(s)
		for n := 0; pages.HasMorePages(); n++ {
			if n == maxPages {
				return nil, &CallError{name, fmt.Errorf("no end after %d pages", maxPages)}
			}
			page, err := next(ctx, c.timeout, pages)
			if err != nil {
				return nil, &CallError{name, err}
			}
			list = append(list, items(page)...)
		}
	}
	return list, nil
}

// next asks for a page, and bounds the wait for it.
func next[Page any](ctx context.Context, timeout time.Duration, pages pager[Page]) (*Page, error) {
	timeout = cmp.Or(timeout, defaultTimeout)
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	page, err := pages.NextPage(bounded)
	switch {
	case err == nil:
		return page, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(bounded.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %v: %w", timeout, err)
	}
	return nil, err
}
