-- How large each segment is, and what tells it from everybody.
with

customer_segments as (
    select * from {{ ref('customer_segments') }}
),

assignments as (
    select * from {{ caspr.scored('segment_assignments') }}
),

differences as (
    select * from {{ caspr.scored('segment_differences') }}
),

silhouettes as (
    select
        cutoff_at,
        max(silhouette) as silhouette
    from assignments
    group by cutoff_at
),

sizes as (
    select
        cutoff_at,
        segment,
        count(*) as customers
    from customer_segments
    group by cutoff_at, segment
),

shares as (
    select
        *,
        {{ caspr.cast_numerical('customers') }} / sum(customers) over (partition by cutoff_at) as customer_share
    from sizes
),

-- A segment that nothing tells from everybody has one row, without a difference.
final as (
    select
        shares.cutoff_at,
        shares.segment,
        cast(shares.customers as {{ dbt.type_bigint() }}) as customers,
        {{ caspr.cast_numerical('shares.customer_share') }} as customer_share,
        silhouettes.silhouette,
        differences.difference_rank,
        differences.feature,
        differences.segment_mean,
        differences.customer_mean,
        differences.standardised_difference,
        differences.description
    from shares
    inner join silhouettes on shares.cutoff_at = silhouettes.cutoff_at
    left join differences
        on shares.cutoff_at = differences.cutoff_at
        and shares.segment = differences.segment
)

select
    cutoff_at,
    segment,
    customers,
    customer_share,
    silhouette,
    difference_rank,
    feature,
    segment_mean,
    customer_mean,
    standardised_difference,
    description
from final
