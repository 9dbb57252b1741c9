import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.Statement;
import java.time.LocalTime;
import java.util.Date;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import org.quartz.CronScheduleBuilder;
import org.quartz.Job;
import org.quartz.JobBuilder;
import org.quartz.JobExecutionContext;
import org.quartz.Scheduler;
import org.quartz.TriggerBuilder;
import org.quartz.impl.StdSchedulerFactory;

/**
 * Quartz, clustered JDBC job store, one durable job and one cron trigger a schedule; the job does nothing, in this very
 * process. Arguments: JDBC URL, schedules stored, schedules due. Prints one line: fired a second, within a minute.
 */
public class Quartz {
  private static final int THREADS = 25;
  private static final long LONGEST = 60_000_000_000L;
  private static final AtomicInteger FIRED = new AtomicInteger();
  private static String url;

  public static class Nothing implements Job {
    @Override
    public void execute(JobExecutionContext context) {
      FIRED.incrementAndGet();
    }
  }

  public static void main(String[] arguments) throws Exception {
    url = arguments[0];
    int stored = Integer.parseInt(arguments[1]);
    int due = Integer.parseInt(arguments[2]);
    var tables = Quartz.class.getResourceAsStream("/org/quartz/impl/jdbcjobstore/tables_postgres.sql");
    run(new String(tables.readAllBytes()));
    Scheduler scheduler = new StdSchedulerFactory(settings()).getScheduler();
    load(scheduler, stored, due);

    long began = System.nanoTime();
    scheduler.start();
    while (FIRED.get() < due && System.nanoTime() - began < LONGEST) {
      Thread.sleep(2);
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    System.out.printf("%.1f%n", FIRED.get() / seconds);
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  private static Properties settings() {
    Properties settings = new Properties();
    String[][] pairs = {
      {"scheduler.instanceName", "bench"},
      {"scheduler.instanceId", "AUTO"},
      {"scheduler.batchTriggerAcquisitionMaxCount", String.valueOf(THREADS)},
      {"threadPool.class", "org.quartz.simpl.SimpleThreadPool"},
      {"threadPool.threadCount", String.valueOf(THREADS)},
      {"jobStore.class", "org.quartz.impl.jdbcjobstore.JobStoreTX"},
      {"jobStore.driverDelegateClass", "org.quartz.impl.jdbcjobstore.PostgreSQLDelegate"},
      {"jobStore.useProperties", "true"},
      {"jobStore.isClustered", "true"},
      {"jobStore.acquireTriggersWithinLock", "true"},
      {"jobStore.misfireThreshold", "3600000"},
      {"jobStore.dataSource", "d"},
      {"dataSource.d.provider", "hikaricp"},
      {"dataSource.d.driver", "org.postgresql.Driver"},
      {"dataSource.d.URL", url},
      {"dataSource.d.maxConnections", String.valueOf(THREADS + 3)},
    };
    for (String[] pair : pairs) {
      settings.setProperty("org.quartz." + pair[0], pair[1]);
    }
    return settings;
  }

  /** One schedule through Quartz itself; the others are copies of its rows. */
  private static void load(Scheduler scheduler, int stored, int due) throws Exception {
    int far = (LocalTime.now().getMinute() + 30) % 60;
    var job = JobBuilder.newJob(Nothing.class).withIdentity("s0", "g").usingJobData("repository_id", "42")
        .usingJobData("analysis_type", "full").storeDurably().build();
    var cron = CronScheduleBuilder.cronSchedule("0 " + far + " * * * ?").withMisfireHandlingInstructionFireAndProceed();
    var trigger = TriggerBuilder.newTrigger().withIdentity("s0", "g").withSchedule(cron)
        .startAt(new Date(System.currentTimeMillis() - 7_200_000)).build();
    scheduler.scheduleJob(job, trigger);
    long now = System.currentTimeMillis();
    run("set session_replication_role = replica;"
        + " create temp table x as select 's' || i as name from generate_series(1, " + (stored - 1) + ") i;"
        + " insert into qrtz_job_details select sched_name, x.name, job_group, description, job_class_name, is_durable,"
        + " is_nonconcurrent, is_update_data, requests_recovery, job_data from qrtz_job_details, x where job_name = 's0';"
        + " insert into qrtz_triggers (sched_name, trigger_name, trigger_group, job_name, job_group, next_fire_time,"
        + " prev_fire_time, priority, trigger_state, trigger_type, start_time, end_time, misfire_instr, job_data)"
        + " select sched_name, x.name, trigger_group, x.name, job_group, next_fire_time, -1, priority, 'WAITING',"
        + " trigger_type, start_time, end_time, misfire_instr, job_data from qrtz_triggers, x where trigger_name = 's0';"
        + " insert into qrtz_cron_triggers select sched_name, x.name, trigger_group, cron_expression, time_zone_id"
        + " from qrtz_cron_triggers, x where trigger_name = 's0';"
        + " update qrtz_triggers set next_fire_time = " + (now + 1_800_000) + ";"
        + " update qrtz_triggers set next_fire_time = " + (now - 1_000) + " where trigger_name in"
        + " (select trigger_name from qrtz_triggers order by random() limit " + due + ")");
    for (String table : new String[] {"qrtz_triggers", "qrtz_job_details", "qrtz_cron_triggers"}) {
      run("vacuum full analyze " + table);
    }
  }

  private static void run(String statements) throws Exception {
    try (Connection c = DriverManager.getConnection(url); Statement s = c.createStatement()) {
      s.execute(statements);
    }
  }
}
