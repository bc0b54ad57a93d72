/*
 * The part of the schema that is about nodes: joining, the heartbeat, recovery, leaving, and what a run may
 * still do once its node has been cut off.
 */

import type { Schemas } from './migrations.ts';

/** The statements of version 1 about nodes. Never change them once released: add a migration. */
export function membership({ own, worker }: Schemas): string {
  return `
-- Refuses whoever has lost the node. Holds until the end of the transaction.
create function ${own}.check_session(p_node text, p_session text) returns void language plpgsql as $$
begin
  perform 1 from ${own}.nodes where name = p_node and session = p_session and is_up for key share;
  if not found then
    raise exception 'node % has been cut off', p_node using errcode = 'KC002';
  end if;
end $$;

-- Schedules what follows a run, if it has kept its name, and records a failure. p_first_due is the time of the first
-- attempt, if this was another one.
create function ${own}.follow(
  p_node text, p_session text, p_job bigint, p_id text, p_task text, p_payload json, p_queue text,
  p_delay_ms double precision, p_every_ms double precision, p_catch_up boolean,
  p_crash_limit integer, p_priority integer, p_flags text[], p_failed integer, p_error text,
  p_first_due timestamptz
) returns boolean language plpgsql as $$
declare
  due timestamptz;
  payload json := p_payload;
begin
  perform ${own}.check_session(p_node, p_session);
  perform ${own}.lock_name(p_id);
  select j.run_at into due from ${worker}.jobs j where j.key = p_id and j.id = p_job;
  if due is null then
    return false;
  end if;
  if p_error is not null then
    insert into ${own}.failures as f (id, failed, error, at)
    values (p_id, p_failed, p_error, clock_timestamp())
    on conflict (id) do update set failed = excluded.failed, error = excluded.error, at = excluded.at;
  else
    delete from ${own}.failures where id = p_id;
  end if;
  -- The next period counts from the first attempt.
  due := coalesce(p_first_due, due);
  if p_delay_ms is not null then
    if p_every_ms > 0 then
      -- Added to the text: not everything in it can be a jsonb.
      payload := '{"firstDue":' || to_json(due) || ',' || substr(p_payload::text, 2);
    end if;
    due := clock_timestamp() + p_delay_ms * interval '1 ms';
  elsif p_every_ms > 0 then
    due := due + p_every_ms * interval '1 ms';
    if not p_catch_up and due < clock_timestamp() then
      due := due + ceil(extract(epoch from clock_timestamp() - due) * 1000 / p_every_ms)
        * p_every_ms * interval '1 ms';
    end if;
  else
    return true;
  end if;
  perform ${worker}.add_job(
    identifier => p_task, payload => payload, queue_name => p_queue, run_at => due,
    max_attempts => p_crash_limit, job_key => p_id, priority => p_priority, flags => p_flags
  );
  perform ${own}.announce(due);
  return true;
end $$;

-- Takes a node out of the cluster, and gives back what its worker has locked. Runs that were given back in an
-- orderly way do not count as crashes.
create function ${own}.leave(p_node text, p_session text, p_orderly boolean) returns boolean
language plpgsql as $$
declare
  v_worker text;
  job record;
begin
  select worker into v_worker from ${own}.nodes
  where name = p_node and session = p_session and is_up for update;
  if not found then
    return false;
  end if;
  update ${own}.nodes set is_up = false where name = p_node;
  if v_worker is not null then
    for job in select j.id, j.attempts from ${worker}.jobs j where j.locked_by = v_worker loop
      if p_orderly then
        perform ${worker}.force_unlock_workers(array[v_worker]);
        perform ${worker}.reschedule_jobs(array[job.id], attempts => greatest(job.attempts - 1, 0));
      end if;
    end loop;
    perform ${worker}.force_unlock_workers(array[v_worker]);
    -- Runs that had lost their name: nothing will run them again.
    perform ${worker}.complete_jobs(array(
      select j.id from ${worker}.jobs j
      where j.key is null and j.locked_at is null and j.attempts >= j.max_attempts
    ));
  end if;
  perform ${own}.announce(clock_timestamp());
  return true;
end $$;

-- Ends all connections of a session but the caller's, and waits until they are gone; false: not in time.
create function ${own}.cut_off(p_session text, p_wait_ms integer) returns boolean language plpgsql as $$
declare
  v_until timestamptz := clock_timestamp() + p_wait_ms * interval '1 ms';
begin
  perform pg_terminate_backend(pid) from pg_stat_activity
  where application_name = 'kcont:' || p_session and pid <> pg_backend_pid();
  loop
    perform pg_stat_clear_snapshot();
    exit when not exists (
      select 1 from pg_stat_activity
      where application_name = 'kcont:' || p_session and pid <> pg_backend_pid()
    );
    if clock_timestamp() > v_until then
      return false;
    end if;
    perform pg_sleep(0.005);
  end loop;
  return true;
end $$;

-- Takes a dead node out of the cluster. False: somebody else has, or something took longer than it may.
create function ${own}.recover(p_node text, p_session text, p_wait_ms integer) returns boolean
language plpgsql as $$
begin
  if not ${own}.cut_off(p_session, p_wait_ms) then
    return false;
  end if;
  perform set_config('lock_timeout', p_wait_ms::text, true);
  -- From here on new connections are refused; one may have been made meanwhile.
  perform 1 from ${own}.nodes where name = p_node and session = p_session for update;
  if not ${own}.cut_off(p_session, p_wait_ms) then
    return false;
  end if;
  return ${own}.leave(p_node, p_session, false);
end $$;

-- Joins the cluster. The caller's connection holds the advisory lock of the session.
create function ${own}.join_cluster(
  p_node text, p_session text, p_lock_key bigint, p_limit_ms double precision
) returns boolean language plpgsql as $$
declare
  old record;
begin
  perform pg_advisory_xact_lock(hashtextextended('${own}:' || p_node, 2));
  select * into old from ${own}.nodes where name = p_node;
  if old.is_up then
    if not pg_try_advisory_xact_lock_shared(old.lock_key)
      and old.beat > clock_timestamp() - p_limit_ms * interval '1 ms' then
      return false;
    end if;
    if not ${own}.recover(p_node, old.session, 1000) then
      return false;
    end if;
  end if;
  insert into ${own}.nodes as n (name, session, worker, lock_key, is_up, beat, started)
  values (p_node, p_session, null, p_lock_key, true, clock_timestamp(), clock_timestamp())
  on conflict (name) do update set session = excluded.session, worker = null,
    lock_key = excluded.lock_key, is_up = true, beat = excluded.beat, started = excluded.started;
  return true;
end $$;

-- The heartbeat. Whoever looks whether a node is dead takes its lock in shared mode, so that two who look at the same
-- time do not take each other for the node. Dead nodes are in no order, so that one that cannot be taken out does not keep
-- others waiting. It tells whether the session is still valid, which other nodes are up, and which of them are dead:
-- their lock is free, because their process has ended, or their last beat is too old.
create function ${own}.beat(
  p_node text, p_session text, p_limit_ms double precision,
  out is_current boolean, out now_ms double precision, out up text[], out dead json
) language plpgsql as $$
declare
  n record;
  gone jsonb := '[]';
begin
  update ${own}.nodes set beat = clock_timestamp()
  where name = p_node and session = p_session and is_up;
  is_current := found;
  up := '{}';
  for n in select * from ${own}.nodes where is_up and name <> p_node order by random() loop
    if pg_try_advisory_xact_lock_shared(n.lock_key)
      or n.beat < clock_timestamp() - p_limit_ms * interval '1 ms' then
      gone := gone || jsonb_build_object('name', n.name, 'session', n.session);
    else
      up := up || n.name;
    end if;
  end loop;
  delete from ${own}.detached d where not exists (
    select 1 from ${worker}.jobs j where j.id = d.job_id and j.locked_at is not null
  );
  now_ms := extract(epoch from clock_timestamp()) * 1000;
  dead := gone::json;
end $$;
`;
}
