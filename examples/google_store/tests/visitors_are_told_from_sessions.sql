-- The session begins with the visitor's id as the publisher wrote it. A reader that took the id for a number would have lost its zeros.
select
    session_id,
    visitor_id
from {{ ref('stg_visits') }}
where not starts_with(session_id, visitor_id || '_')
