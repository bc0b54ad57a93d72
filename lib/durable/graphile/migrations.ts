/*
 * The schema of kcont in the database, beside that of graphile-worker: tables of nodes, of runs that have
 * lost their name, and of failures; and the operations as functions, so that each is one round trip and one
 * transaction.
 *
 *   jobs of graphile-worker    key            = name of the continuation
 *                              queue_name     = lock
 *                              priority       = 223 - priority of the workqueue
 *                              task           = function, or function@node for a strong affinity
 *                              flags          = delay=N for touch; weak@node; after: wait for the run before
 *                              max_attempts   = crash limit: only runs whose process died count
 *
 * Only the documented functions of graphile-worker and its view `jobs` are used. The view cannot be locked, so
 * operations on one name exclude each other by an advisory lock; a worker that takes the job meanwhile is
 * detected, because `add_job` then returns another row.
 *
 * A run is valid as long as the row of its node has the token of the session (`check`), which takes a FOR KEY
 * SHARE lock: it conflicts with the FOR UPDATE of `leave`, but not with the heartbeat.
 */

import { membership } from './membership.ts';

/** The schema that a list of migrations belongs to, and that of graphile-worker. */
export interface Schemas {
  /** As an identifier in quotes: the name may be a key word, such as `user`. */
  readonly own: string;
  /** The name itself, which is also that of the channel of notifications. */
  readonly name: string;
  readonly worker: string;
}

/** The statements of each version, in order. Never change one that has been released: add another. */
export const MIGRATIONS: readonly ((schemas: Schemas) => string)[] = [
  (schemas) => operations(schemas) + membership(schemas),
];

function operations({ own, name, worker }: Schemas): string {
  return `
create table ${own}.nodes (
  name text primary key,
  session text not null,
  worker text,
  lock_key bigint not null,
  is_up boolean not null,
  beat timestamptz not null,
  started timestamptz not null
);
create table ${own}.detached (job_id bigint primary key, id text not null);
create index detached_id on ${own}.detached (id);
create table ${own}.failures (
  id text primary key,
  failed integer not null,
  error text not null,
  at timestamptz not null
);

-- Serializes the operations on one name until the end of the transaction.
create function ${own}.lock_name(p_id text) returns void language sql as $$
  select pg_advisory_xact_lock(hashtextextended('${own}:' || p_id, 1));
$$;

-- Tells the nodes when something will be due, unless that is far off.
create function ${own}.announce(p_due timestamptz) returns void language plpgsql as $$
begin
  if p_due < clock_timestamp() + interval '20 s' then
    perform pg_notify('${name}', (extract(epoch from p_due) * 1000)::text);
  end if;
end $$;

-- Whether a run that has lost this name is still in flight.
create function ${own}.is_detached(p_id text) returns boolean language sql as $$
  select exists (
    select 1 from ${own}.detached d join ${worker}.jobs j on j.id = d.job_id
    where d.id = p_id and j.locked_at is not null
  );
$$;

-- Takes the name from a run in flight.
create function ${own}.detach(p_id text, p_job bigint) returns void language plpgsql as $$
begin
  insert into ${own}.detached (job_id, id) values (p_job, p_id) on conflict do nothing;
end $$;

create function ${own}.schedule(
  p_id text, p_task text, p_payload json, p_queue text, p_delay_ms double precision,
  p_crash_limit integer, p_priority integer, p_flags text[], p_node text, p_reset boolean
) returns text language plpgsql as $$
declare
  old record;
  was_parked boolean;
  was_running boolean;
  new_id bigint;
  due timestamptz;
  v_flags text[];
begin
  if p_node is not null and not exists (select 1 from ${own}.nodes where name = p_node) then
    return 'ENOENT';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('${own}:' || p_id, 1));
  loop
    select j.id, j.locked_at, j.attempts, j.max_attempts into old from ${worker}.jobs j where j.key = p_id;
    was_running := old.locked_at is not null;
    if was_running and not p_reset then
      return 'EBUSY';
    end if;
    was_parked := old.locked_at is null and old.attempts >= old.max_attempts;
    if was_parked then
      perform ${worker}.complete_jobs(array[old.id]);
    end if;
    v_flags := p_flags;
    if was_running or (
      exists (select 1 from ${own}.detached where id = p_id) and ${own}.is_detached(p_id)
    ) then
      v_flags := v_flags || 'after'::text;
    end if;
    due := clock_timestamp() + p_delay_ms * interval '1 ms';
    if old.id is null then
      -- Nobody else can have scheduled it, so the savepoint below is not needed.
      perform 1 from ${worker}.add_job(
        identifier => p_task, payload => p_payload, queue_name => p_queue, run_at => due,
        max_attempts => p_crash_limit, job_key => p_id, priority => p_priority, flags => v_flags
      );
      exit;
    end if;
    begin
      select a.id into new_id from ${worker}.add_job(
        identifier => p_task, payload => p_payload, queue_name => p_queue, run_at => due,
        max_attempts => p_crash_limit, job_key => p_id, priority => p_priority, flags => v_flags
      ) a;
      if was_running then
        perform ${own}.detach(p_id, old.id);
      elsif new_id is null or (not was_parked and new_id <> old.id) then
        -- A worker has taken it since it was read: undo this, and look again.
        raise exception 'taken' using errcode = 'KC001';
      end if;
      exit;
    exception when sqlstate 'KC001' then
      -- A transaction of the caller that keeps its snapshot would see the same forever.
      if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'could not serialize access due to a concurrent run of %', p_id
          using errcode = 'serialization_failure';
      end if;
    end;
  end loop;
  delete from ${own}.failures where id = p_id;
  if p_delay_ms > 0 and p_delay_ms < 20000 then
    perform ${own}.announce(due);
  end if;
  return case when old.id is null or was_running or was_parked then 'scheduled' else 'moved' end;
end $$;

create function ${own}.stop(p_id text, out withdrawn boolean, out running boolean)
language plpgsql as $$
declare
  job record;
begin
  perform ${own}.lock_name(p_id);
  select r.id, r.locked_at into job from ${worker}.remove_job(p_id) r;
  withdrawn := job.id is not null and job.locked_at is null;
  if job.id is not null and job.locked_at is not null then
    perform ${own}.detach(p_id, job.id);
  end if;
  running := ${own}.is_detached(p_id);
end $$;

create function ${own}.touch(p_id text) returns boolean language plpgsql as $$
declare
  job record;
  due timestamptz;
begin
  perform ${own}.lock_name(p_id);
  select j.id, (
    select substr(f, 7)::double precision from jsonb_object_keys(j.flags) f where f like 'delay=%'
  ) as delay_ms into job
  from ${worker}.jobs j
  where j.key = p_id and j.locked_at is null and j.attempts < j.max_attempts
    and j.run_at > clock_timestamp();
  if job.delay_ms is null then
    return false;
  end if;
  due := clock_timestamp() + job.delay_ms * interval '1 ms';
  perform 1 from ${worker}.reschedule_jobs(array[job.id], run_at => due);
  if not found then
    return false;
  end if;
  perform ${own}.announce(due);
  return true;
end $$;

create function ${own}.ack(p_id text, p_job bigint) returns boolean language plpgsql as $$
declare
  v_job bigint;
begin
  perform ${own}.lock_name(p_id);
  select j.id into v_job from ${worker}.jobs j
  where j.key = p_id and j.locked_at is not null and (p_job is null or j.id = p_job);
  if v_job is null then
    return false;
  end if;
  perform ${worker}.remove_job(p_id);
  perform ${own}.detach(p_id, v_job);
  return true;
end $$;

create function ${own}.state(
  p_id text, out pending boolean, out running boolean, out invoking boolean, out parked boolean,
  out due_in_ms double precision, out failed integer, out last_error text
) language plpgsql as $$
declare
  job record;
begin
  select j.locked_at, j.attempts, j.max_attempts, j.run_at into job
  from ${worker}.jobs j where j.key = p_id;
  invoking := job.locked_at is not null;
  parked := job.run_at is not null and not invoking and job.attempts >= job.max_attempts;
  pending := job.run_at is not null and not invoking and not parked;
  running := invoking or ${own}.is_detached(p_id);
  due_in_ms := case when pending then extract(epoch from job.run_at - clock_timestamp()) * 1000 end;
  select f.failed, f.error into failed, last_error from ${own}.failures f where f.id = p_id;
  failed := coalesce(failed, 0);
end $$;

-- Whether a run may begin: 'wait' while an earlier run of the name is in flight, 'stopped' if it has lost the
-- name meanwhile.
create function ${own}.may_begin(p_id text, p_job bigint) returns text language sql as $$
  select case
    when not exists (select 1 from ${worker}.jobs j where j.id = p_job and j.key = p_id) then 'stopped'
    when exists (
      select 1 from ${own}.detached d join ${worker}.jobs j on j.id = d.job_id
      where d.id = p_id and d.job_id <> p_job and j.locked_at is not null
    ) then 'wait'
    else 'run'
  end;
$$;

create function ${own}.parked() returns table (id text, task text, crashes integer) language sql as $$
  select j.key, j.task_identifier, j.attempts::integer from ${worker}.jobs j
  where j.key is not null and j.locked_at is null and j.attempts >= j.max_attempts
  order by j.key limit 1000;
$$;

create function ${own}.release(p_id text) returns boolean language plpgsql as $$
declare
  v_job bigint;
  v_due timestamptz;
begin
  perform ${own}.lock_name(p_id);
  select j.id, least(j.run_at, clock_timestamp()) into v_job, v_due from ${worker}.jobs j
  where j.key = p_id and j.locked_at is null and j.attempts >= j.max_attempts;
  if v_job is null then
    return false;
  end if;
  -- A time that has passed is kept: what is periodic counts from there.
  perform 1 from ${worker}.reschedule_jobs(array[v_job], run_at => v_due, attempts => 0);
  perform ${own}.announce(clock_timestamp());
  return true;
end $$;
`;
}
